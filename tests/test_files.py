"""Files appear whole or not at all."""

import os
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_lodin.files import atomic_write
from tests import networks

NOBODY = 65534


def make_folder(path, content):
    (path / "inside").mkdir(parents=True)
    for name in ("a.txt", "inside/b.txt"):
        (path / name).write_text(content)


def content_of(path):
    if path.is_file():
        return path.read_text()
    contents = {file.read_text() for file in path.rglob("*.txt")}
    assert len(contents) == 1, "files of two writers are mixed"
    return contents.pop()


def write(path, content, kind):
    if kind == "file":
        path.write_text(content)
    else:
        make_folder(path, content)


kinds = pytest.mark.parametrize("kind", ["file", "folder"])


@kinds
def test_new_content_appears_with_missing_parents(tmp_path, kind):
    path = tmp_path / "new" / "parent" / "name.txt"
    with atomic_write(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        write(temporary, "new", kind)
        assert not path.exists()
    assert content_of(path) == "new"
    assert list(path.parent.iterdir()) == [path]


@kinds
def test_old_content_is_replaced_as_a_whole(tmp_path, kind):
    path = tmp_path / "name"
    write(path, "old", kind)
    with atomic_write(path) as temporary:
        write(temporary, "new", kind)
        assert content_of(path) == "old"
    assert content_of(path) == "new"
    assert list(tmp_path.iterdir()) == [path]


@kinds
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there(tmp_path, kind, error):
    path = tmp_path / "name"
    write(path, "old", kind)

    def write_half():
        with atomic_write(path) as temporary:
            write(temporary, "half", kind)
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        write_half()
    assert content_of(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


@kinds
def test_a_failed_move_leaves_what_was_there(tmp_path, kind, monkeypatch):
    path = tmp_path / "name"
    write(path, "old", kind)
    replace = os.replace

    def fail_to_arrive(source, target):
        if Path(target) == path and ".old" not in Path(source).name:
            raise OSError("the disk went away")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_to_arrive)
    with (
        pytest.raises(OSError, match="the disk went away"),
        atomic_write(path) as temporary,
    ):
        write(temporary, "new", kind)
    assert content_of(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_nothing_is_an_error(tmp_path):
    with (
        pytest.raises(OSError, match=r"Nothing was written .*Received: path=.*name"),
        atomic_write(tmp_path / "name"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_does_not_replace_a_folder(tmp_path):
    path = tmp_path / "results"
    make_folder(path, "precious")
    with (
        pytest.raises(IsADirectoryError, match=r"folder stands where.*Received: path=.*results"),
        atomic_write(path) as temporary,
    ):
        temporary.write_text("new")
    assert content_of(path) == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "folder" / "a.txt"):
        with (
            pytest.raises(NotADirectoryError, match=f"a file has its name: '{path.parent}'"),
            atomic_write(path),
        ):
            pass


def test_a_folder_does_not_replace_a_file(tmp_path):
    path = tmp_path / "results"
    path.write_text("precious")
    with pytest.raises(NotADirectoryError), atomic_write(path) as temporary:
        make_folder(temporary, "new")
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@kinds
def test_a_link_is_replaced_and_its_target_is_kept(tmp_path, kind):
    target, link = tmp_path / "target", tmp_path / "link"
    write(target, "old", kind)
    link.symlink_to(target)
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert not link.is_symlink()
    assert link.read_text() == "new"
    assert content_of(target) == "old"


def test_a_relative_path_is_written_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write("name.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "name.txt").read_text() == "new"


# --- No permission, no space -----------------------------------------------------------------


@pytest.fixture
def read_only_folder():
    """A folder that may be read and not written to, also where the tests run as root."""
    # Not `tmp_path`, which another user cannot reach.
    folder = Path(tempfile.mkdtemp())
    (folder / "name").write_text("old")
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    yield folder
    if is_root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
@pytest.mark.parametrize("name", ["name", "other", "new/name"])
def test_a_folder_without_write_permission_is_an_error(read_only_folder, name):
    with (
        pytest.raises(PermissionError, match=str(read_only_folder)),
        atomic_write(read_only_folder / name) as temporary,
    ):
        temporary.write_text("new")
    assert list(read_only_folder.iterdir()) == [read_only_folder / "name"]
    assert (read_only_folder / "name").read_text() == "old"


@pytest.fixture
def small_disk(tmp_path):
    """A folder with 64 KiB of space: a disk of that size, else a limit on every file's size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
        return
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@kinds
def test_a_full_disk_leaves_nothing_half_written(small_disk, kind):
    path = small_disk / "name"
    write(path, "old", kind)
    with pytest.raises(OSError, match=r"space|large"), atomic_write(path) as temporary:
        write(temporary, "new " * 100_000, kind)
    assert content_of(path) == "old"
    assert list(small_disk.iterdir()) == [path]


def test_a_model_that_does_not_fit_on_the_disk_leaves_nothing(small_disk):
    model = networks.dense(shape=(5_000,))
    with (
        pytest.raises(OSError, match=r"space|large|write"),
        atomic_write(small_disk / "model.keras") as temporary,
    ):
        model.save(temporary)
    assert not list(small_disk.iterdir())


def test_a_model_saves_and_loads_through_it(tmp_path):
    model = networks.dense()
    with atomic_write(tmp_path / "model.keras") as temporary:
        model.save(temporary)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


# --- Several at once -------------------------------------------------------------------------


@kinds
def test_writers_at_the_same_time_leave_one_whole_version(tmp_path, kind):
    path = tmp_path / "name"
    start = threading.Barrier(8)

    def writer(number):
        start.wait()
        for _ in range(60):
            with atomic_write(path) as temporary:
                write(temporary, str(number) * 1000, kind)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(writer, range(8)))
    assert content_of(path) in {str(number) * 1000 for number in range(8)}
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "name"
    path.write_text("0" * 100_000)
    done = threading.Event()

    def write_often():
        for number in range(100):
            with atomic_write(path) as temporary, temporary.open("w") as file:
                for _ in range(10):
                    file.write(str(number % 10) * 10_000)
                    file.flush()
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_often)
        while not done.is_set() and not writing.done():
            text = path.read_text()
            assert len(text) == 100_000
            assert len(set(text)) == 1
        writing.result()
