"""One run at a time in a folder, and a dead one blocks nobody."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keras_lodin.utils import files, folder_claim
from keras_lodin.utils.folder_claim import claimed

_PACKAGE = str(Path(folder_claim.__file__).parents[1])
# A process that claims a folder without the five seconds of importing TensorFlow.
_HOLDER = """
import sys, types
package = types.ModuleType("keras_lodin"); package.__path__ = [sys.argv[1]]
sys.modules["keras_lodin"] = package
from keras_lodin.utils.folder_claim import claimed
with claimed(sys.argv[2]):
    print("claimed", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, _PACKAGE, tmp_path / "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"claimed\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_refused_and_told_who_has_the_folder(holder, tmp_path):
    with (
        pytest.raises(
            ValueError,
            match=rf"Another run .* process {holder.pid} since 2\d\d\d-.*Received: output=",
        ),
        claimed(tmp_path / "run"),
    ):
        pass
    (tmp_path / "link").symlink_to("run")
    with pytest.raises(ValueError, match="Another run"), claimed(tmp_path / "link"):
        pass
    with claimed(tmp_path / "other"):
        pass


def test_a_killed_process_blocks_nobody_and_leaves_nothing(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert os.listdir(tmp_path / "run") == [".keras-lodin.lock"]
    with claimed(tmp_path / "run"):
        assert json.loads((tmp_path / "run/.keras-lodin.lock").read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path / "run") == []


def test_a_finished_process_lets_the_next_one_in(holder, tmp_path):
    holder.communicate(b"")
    with claimed(tmp_path / "run"):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": null}', b"\xff", b'{"since": ""}'])
def test_a_damaged_lock_file_is_taken_over(tmp_path, content):
    (tmp_path / ".keras-lodin.lock").write_bytes(content)
    with claimed(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_the_same_thread_may_claim_again_and_another_may_not(tmp_path):
    refusals = []

    def claim():
        try:
            with claimed(tmp_path):
                pass
        except ValueError as error:
            refusals.append(str(error))

    with claimed(tmp_path):
        with claimed(tmp_path):
            pass
        other = threading.Thread(target=claim)
        other.start()
        other.join()
    assert len(refusals) == 1
    claim()
    assert len(refusals) == 1


@pytest.mark.parametrize("name", ["new", "new/deep/er"])
def test_a_folder_made_for_nothing_is_removed_and_one_with_work_stays(tmp_path, name):
    with pytest.raises(KeyError), claimed(tmp_path / name):
        raise KeyError
    assert os.listdir(tmp_path) == []
    with claimed(tmp_path / name):
        (tmp_path / name / "work").write_text("")
    assert os.listdir(tmp_path / name) == ["work"]


def test_a_system_without_locks_goes_on_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    with pytest.warns(RuntimeWarning, match="has no locks on files"), claimed(tmp_path):
        pass
