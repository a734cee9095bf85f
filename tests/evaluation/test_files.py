"""JSON, CSV and raw scores: strict, complete, whole or not there at all."""

import csv
import errno
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_lodin.evaluation.files import write_scores
from tests.evaluation.conftest import make_evaluation

ROW_KEYS = {
    "model",
    "detector",
    "ood",
    "group",
    "full_spectrum",
    "count",
    "passes",
    "auroc",
    "fpr95",
    "aupr_in",
    "aupr_out",
    "detection_error",
    "auroc_interval",
    "fpr95_interval",
    "id_accuracy",
}


def writers(evaluation):
    return {
        "json": evaluation.to_json,
        "csv": evaluation.to_csv,
        "npz": lambda path: write_scores(evaluation.scores, path),
    }


def refuse_constant(token):
    raise AssertionError(f"{token} is not JSON")


def test_json_holds_the_documented_schema(evaluation, tmp_path):
    evaluation.to_json(tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text("utf-8")
    document = json.loads(text, parse_constant=refuse_constant)
    assert {"id", "results", "definitions", "versions", "seed", "command"} <= set(document)
    assert document["id"] == evaluation.id
    assert {"name", "count", "accuracy"} <= set(document["id"])
    assert document["results"] == evaluation.rows
    assert all(set(row) == ROW_KEYS for row in document["results"])
    assert document["means"] == evaluation.means
    assert document["definitions"]["fpr95_positive"] == "id"


def test_json_refuses_what_is_not_a_number(evaluation, tmp_path):
    evaluation.rows[0]["auroc"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        evaluation.to_json(tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []


def test_json_keeps_names_of_any_script(tmp_path):
    make_evaluation(oods=("gemälde 絵",)).to_json(tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text("utf-8")
    assert "gemälde 絵" in text


def test_csv_holds_the_same_rows(evaluation, tmp_path):
    evaluation.to_csv(tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(evaluation.rows)
    for written, row in zip(rows, evaluation.rows, strict=True):
        assert written["detector"] == row["detector"]
        assert float(written["auroc"]) == row["auroc"]
        low, high = row["fpr95_interval"]
        assert (float(written["fpr95_low"]), float(written["fpr95_high"])) == (low, high)


def test_csv_leaves_an_unknown_accuracy_empty(tmp_path):
    make_evaluation(accuracy=None).to_csv(tmp_path / "results.csv")
    header, first, *_ = (tmp_path / "results.csv").read_text().splitlines()
    assert header.endswith(",id_accuracy")
    assert first.endswith(",")


def test_scores_are_named_by_detector_and_data_set(evaluation, tmp_path):
    write_scores(evaluation.scores, tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as scores:
        assert sorted(scores.files) == sorted(
            f"{detector}/{name}"
            for detector in ("msp", "odin")
            for name in evaluation.scores["msp"]
        )
        assert scores["odin/svhn"].dtype == np.float32
        np.testing.assert_array_equal(scores["odin/svhn"], evaluation.scores["odin"]["svhn"])


@pytest.mark.parametrize("kind", ["json", "csv", "npz"])
def test_a_full_disk_leaves_the_old_file_and_names_the_path(
    evaluation, tmp_path, monkeypatch, kind
):
    path = tmp_path / f"results.{kind}"
    path.write_bytes(b"old")

    def write_half(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match=f"No space left on device.*results.{kind}'") as caught:
        writers(evaluation)[kind](path)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_while_plotting_leaves_no_plot(evaluation, tmp_path, monkeypatch):
    def fail(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=r"No space left on device.*svhn_scores\.png'"):
        evaluation.to_plots(tmp_path / "plots")
    assert list((tmp_path / "plots").iterdir()) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_that_may_not_be_written_to_is_named(evaluation, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(PermissionError, match=r"locked"):
            evaluation.save(folder)
        assert list(folder.iterdir()) == []
    finally:
        folder.chmod(stat.S_IRWXU)


def test_refused_permission_is_passed_on_as_such(evaluation, tmp_path, monkeypatch):
    def refuse(self, content):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied.*results\.csv'") as caught:
        evaluation.save(tmp_path)
    assert caught.value.filename == str(tmp_path / "results.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["json", "csv", "npz"])
def test_a_folder_is_never_replaced_by_a_file(evaluation, tmp_path, kind):
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(IsADirectoryError, match="name of a file, not a folder"):
        writers(evaluation)[kind](tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_a_file_in_place_of_a_parent_folder_is_an_error_that_names_the_path(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"a file has its name: '.*file'"):
        evaluation.to_json(tmp_path / "file" / "results.json")


def test_command_is_recorded(evaluation, tmp_path):
    replace(evaluation, command="keras-lodin evaluate x").to_json(tmp_path / "results.json")
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["command"] == "keras-lodin evaluate x"
