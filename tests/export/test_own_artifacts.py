"""An export replaces what an export wrote, and nothing of anybody else's."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_lodin import MSPDetector
from keras_lodin.export import export_litert, export_onnx, export_saved_model, load_artifact
from keras_lodin.export.own_artifacts import (
    check_file_is_own,
    check_folder_is_own,
    check_report_is_own,
)
from keras_lodin.utils import files
from tests import networks


def an_export(folder):
    """What a SavedModel of ours consists of."""
    for name in (
        *("saved_model.pb", "fingerprint.pb", "variables/variables.index"),
        *("variables/variables.data-00000-of-00001", "assets.extra/keras_lodin.json"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    (folder / "assets").mkdir()
    return folder


def test_an_export_an_empty_folder_and_a_new_path_are_free(tmp_path):
    check_folder_is_own(an_export(tmp_path / "export"))
    check_folder_is_own(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_folder_is_own(tmp_path / "empty")


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", "assets/labels.txt", "assets.extra/tf_serving_warmup_requests"),
        *("variables/mine.npy", "variables/variables.data-1", ".git/config", "empty/", "a/b/c.txt"),
        *("saved_model.pbtxt", "keras_metadata.pb", "variables/variables.index.bak"),
    ],
)
def test_a_foreign_file_in_an_export_is_named_and_kept(tmp_path, name):
    folder = an_export(tmp_path / "export")
    if name.endswith("/"):
        (folder / name).mkdir()
    else:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")
    first = name.partition("/")[0] if name[0] in ".ae" and "assets" not in name else name
    with pytest.raises(ValueError, match=r"holds something else.*Received: ") as error:
        check_folder_is_own(folder)
    assert first.rstrip("/") in str(error.value)


def test_links_in_a_folder_and_savedmodels_of_others_are_foreign(tmp_path):
    folder = an_export(tmp_path / "export")
    (folder / "assets.extra" / "keras_lodin.json").unlink()
    with pytest.raises(ValueError, match="without the file"):
        check_folder_is_own(folder)
    folder = an_export(tmp_path / "linked")
    (folder / "fingerprint.pb").unlink()
    (folder / "fingerprint.pb").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"fingerprint\.pb"):
        check_folder_is_own(folder)


@pytest.mark.parametrize(
    "content", [b"mine", b"\x08\x08\x12\x07pytorch", b"{}", b"\0" * 100, b"TFL3", b"PK\5\6", b" "]
)
def test_a_foreign_file_is_not_replaced(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="was not exported by this package"):
        check_file_is_own(path, path.suffix, "An ONNX")
    assert path.read_bytes() == content


def test_an_empty_and_a_damaged_file_of_ours_are_replaced(tmp_path):
    path = tmp_path / "model.onnx"
    check_file_is_own(path, path.suffix, "An ONNX")
    path.touch()
    check_file_is_own(path, path.suffix, "An ONNX")
    path.write_bytes(b"\0\0half a file keras_lodin {")
    check_file_is_own(path, path.suffix, "An ONNX")


@pytest.mark.parametrize(
    "content", ["MINE", "{}", "[]", '{"file": "x"}', '"file"', "{", "\ufeff{}", '{"opset": 18}']
)
def test_a_foreign_report_is_not_replaced(tmp_path, content):
    path = tmp_path / "d.report.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="another file has that name"):
        check_report_is_own(path)


@pytest.fixture(scope="module")
def detector():
    return MSPDetector(networks.dense())


def test_exports_replace_exports_together_and_refuse_others(detector, tmp_path):
    for _ in range(2):
        export_onnx(detector, tmp_path / "d.onnx", verbose=False)
        export_saved_model(detector, tmp_path / "sm", verbose=False)
    assert sorted(os.listdir(tmp_path)) == ["d.onnx", "d.report.json", "sm"]
    (tmp_path / "sm" / "notes.txt").write_text("precious")
    (tmp_path / "d.report.json").write_text("MINE")
    (tmp_path / "d.tflite").write_text("MINE")
    for export, name in (
        *((export_onnx, "d.onnx"), (export_saved_model, "sm"), (export_litert, "d.tflite")),
    ):
        with pytest.raises(ValueError, match="would be lost"):
            export(detector, tmp_path / name, verbose=False)
    assert (tmp_path / "sm" / "notes.txt").read_text() == "precious"
    assert (tmp_path / "d.report.json").read_text() == "MINE"
    assert (tmp_path / "d.tflite").read_text() == "MINE"


# Replaces a folder as an export does and dies where the old one has stepped aside.
_KILLED = """
import os, signal, sys, types
package = types.ModuleType("keras_lodin"); package.__path__ = [sys.argv[1]]
sys.modules["keras_lodin"] = package
from keras_lodin.utils import files
files._exchange = lambda first, second: False
replace = os.replace
def killed(source, target):
    replace(source, target)
    if "/old/" in str(target): os.kill(os.getpid(), signal.SIGKILL)
os.replace = killed
with files.atomic_write(sys.argv[2]) as temporary:
    temporary.mkdir()
"""


def test_a_savedmodel_that_a_killed_export_set_aside_is_loaded(detector, tmp_path):
    path = tmp_path / "sm"
    export_saved_model(detector, path, verbose=False)
    command = [sys.executable, "-c", _KILLED, str(Path(files.__file__).parents[1]), str(path)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert not path.exists()
    batch = np.zeros((1, *detector.input_shape_with_batch[1:]), "float32")
    assert load_artifact(path).score(batch)["score"].shape == (1,)
    assert os.listdir(tmp_path) == ["sm"]


def test_a_report_says_whose_it_is(detector, tmp_path):
    export_onnx(detector, tmp_path / "d.onnx", verbose=False)
    report = json.loads((tmp_path / "d.report.json").read_text())
    assert report["bytes"] == (tmp_path / "d.onnx").stat().st_size
    check_report_is_own(tmp_path / "d.report.json")
