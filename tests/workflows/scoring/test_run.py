"""Scoring into a folder: the same scores, every row once, whatever happens on the way."""

import csv
import json
import os
import random
import signal
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_lodin
from keras_lodin.utils.files import OWN_PREFIX
from keras_lodin.workflows import count_scores, monitor_scores, score_images, score_to_folder
from keras_lodin.workflows.scoring import ScoreFolder, summarize
from tests import processes


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A calibrated detector of digits that loads at once."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    classifier = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    detector = keras_lodin.MSPDetector(classifier, class_names=("=zero", "one", "two"))
    images = np.random.default_rng(0).uniform(size=(200, 8, 8, 1)).astype("float32")
    detector.calibrate(images, verbose=0)
    path = tmp_path_factory.mktemp("detector") / "detector.keras"
    detector.save(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Twenty images, two of which cannot be read."""
    folder = tmp_path_factory.mktemp("pictures") / "images"
    (folder / "sub").mkdir(parents=True)
    drawn = np.random.default_rng(1)
    for number in range(20):
        path = folder / ("sub" if number % 2 else "") / f"{number:02}.png"
        keras.utils.save_img(path, drawn.integers(0, 256, (9, 7, 3)), scale=False)
    (folder / "04.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "sub" / "19.png").write_bytes(b"")
    return folder


def joined(folder):
    """All rows of a folder of scores, by their columns."""
    rows = [folder.rows(name) for name in folder.done()]
    return {name: [value for some in rows for value in some[name]] for name in rows[0]}


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_scores_are_those_of_the_table_and_a_second_run_does_nothing(
    detector, images, tmp_path, format
):
    expected, skipped = score_images(detector, [images], batch_size=5)

    def score():
        # Of the size of a batch, so that sums are added up in one order.
        return score_to_folder(
            detector, [images], tmp_path / "out", shard_size=5, batch_size=5, format=format
        )

    summary = score()

    folder = ScoreFolder(tmp_path / "out")
    found = joined(folder)
    assert found["key"] == [row["path"] for row in expected]
    assert found["class"] == [row["class"] for row in expected]
    assert found["is_ood"] == [row["is_ood"] for row in expected]
    for name in ("score", "p_value"):
        np.testing.assert_allclose(found[name], [row[name] for row in expected], rtol=1e-6)
    unreadable = [row for name in folder.done() for row in folder.unreadable(name)]
    assert unreadable == skipped
    flagged = sum(row["is_ood"] for row in expected)
    assert (summary.images, summary.scored, summary.unreadable) == (20, 18, 2)
    assert (summary.out_of_distribution, sum(summary.p_values)) == (flagged, 18)
    assert summary.reasons == skipped
    times = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    assert score() == summary == summarize(folder)
    assert count_scores(folder.path).count == 18
    assert monitor_scores(folder.path, detector).windows[0].count == 18
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == times


def test_files_are_where_and_what_the_docs_say(detector, images, tmp_path):
    score_to_folder(detector, [images], tmp_path / "out", shard_size=10, format="csv")
    written = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("*.*"))
    assert written == [
        *("manifest.json", "scores/00000.csv", "scores/00001.csv", "shards/00000.json"),
        *("shards/00001.json", "unreadable/00000.csv", "unreadable/00001.csv"),
    ]
    with (tmp_path / "out" / "scores" / "00000.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["key", "class", "class_name", "score", "is_ood", "p_value"]
    assert {row["class_name"] for row in rows} <= {"'=zero", "one", "two"}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["artifact"]["detector"] == "MSPDetector"
    assert manifest["plan"]["inputs"] == [str(images)]
    outcome = json.loads((tmp_path / "out" / "shards" / "00001.json").read_text())
    assert (outcome["images"], outcome["scored"], outcome["unreadable"]) == (10, 9, 1)


def test_any_worker_can_score_any_shard(detector, images, tmp_path):
    whole = score_to_folder(detector, [images], tmp_path / "one", shard_size=6)
    shards = keras_lodin.plan([images], 6)
    for shard in [*reversed(shards), shards[0]]:
        outcome = keras_lodin.score_shard(detector, shard, tmp_path / "other")
        assert outcome["images"] == shard.count
    one, other = ScoreFolder(tmp_path / "one"), ScoreFolder(tmp_path / "other")
    assert joined(other) == joined(one)
    assert other.manifest() == one.manifest()
    assert summarize(other).p_values == whole.p_values


def test_another_artifact_other_settings_and_other_inputs_are_refused(detector, images, tmp_path):
    def score(artifact=detector, inputs=(images,), **settings):
        return score_to_folder(artifact, inputs, tmp_path / "out", **{"shard_size": 9, **settings})

    score()
    other = keras.models.load_model(detector)
    other.threshold = other.threshold + 1
    other.save(tmp_path / "other.keras")
    for change, what in (
        ({"artifact": tmp_path / "other.keras"}, "artifact was .* and is"),
        ({"shard_size": 8}, "shard_size was 9 and is 8"),
        ({"input_range": (0, 255)}, r"input_range was None and is \[0.0, 255.0\]"),
        ({"format": "csv"}, "format was 'parquet' and is 'csv'"),
        ({"inputs": [images / "sub"]}, "inputs was '20 images .* and is '10 images"),
    ):
        with pytest.raises(ValueError, match=what) as error:
            score(**change)
        assert "Choose another folder" in str(error.value)
        assert "Received: output=" in str(error.value)
    # What changes no score does not matter.
    assert score(batch_size=3).scored == 18


def test_a_folder_of_something_else_is_left_alone(detector, images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    for output, message in (
        (tmp_path / "out", "new or empty folder"),
        (images / "out", "lies inside one"),
        (detector, "output is also an input"),
    ):
        with pytest.raises(ValueError, match=message):
            score_to_folder(detector, [images], output)
    (tmp_path / "out" / "manifest.json").write_text('{"format": "keras-lodin')
    with pytest.raises(ValueError, match="is damaged"):
        score_to_folder(detector, [images], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("manifest.json", "thesis.txt")
    ]


def test_damaged_files_of_a_folder_are_named(detector, images, tmp_path):
    def score():
        return score_to_folder(detector, [images / "00.png"], tmp_path / "out", format="csv")

    score()
    outcome, manifest = (tmp_path / "out" / name for name in ("shards/00000.json", "manifest.json"))
    outcome.write_text("")
    with pytest.raises(ValueError, match=r"The file shards/00000\.json .* is damaged"):
        score()
    whole = json.loads(manifest.read_text())
    for part in ("artifact", "plan"):
        manifest.write_text(json.dumps({**whole, part: {}}))
        with pytest.raises(ValueError, match=r"The file manifest\.json .* is damaged"):
            score()


def test_mistakes_are_found_before_the_work(detector, images, tmp_path):
    for change, error, message in (
        ({"format": "arrow"}, ValueError, "`format` must be one of parquet, csv"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"shard_size": -1}, ValueError, "shard_size"),
        ({"input_range": (1, 0)}, ValueError, "input_range"),
        ({"inputs": "images"}, TypeError, "must be a list"),
        ({"inputs": []}, ValueError, "one or more"),
        ({"artifact": tmp_path / "none.onnx"}, FileNotFoundError, "no artifact"),
        ({"output": ""}, ValueError, "path of something"),
        ({"inputs": ["imagse/*"]}, FileNotFoundError, "no such image.*Name files, not a pattern"),
    ):
        given = {"artifact": detector, "inputs": [images], "output": tmp_path / "out", **change}
        with pytest.raises(error, match=message):
            score_to_folder(**given)
        assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        summarize(ScoreFolder(tmp_path))


def test_inputs_that_cannot_be_read_are_told(detector, images, tmp_path):
    named = [str(images / "04.png"), str(images / "00.png")]
    summary = score_to_folder(detector, named, tmp_path / "out")
    assert summary.unreadable_inputs == named[:1]
    nothing = score_to_folder(detector, named[:1], tmp_path / "nothing")
    assert (nothing.scored, nothing.flagged, nothing.p_values) == (0, None, [0] * 20)


def test_inputs_are_told_by_the_names_that_they_were_given(detector, tmp_path, monkeypatch):
    """Files hold them with an apostrophe before a formula, and bytes that are no text escaped."""
    monkeypatch.chdir(tmp_path)
    named = ["@broken.png", os.fsdecode(b"\xff.png")]
    for name in named:
        Path(name).write_bytes(b"")
    assert score_to_folder(detector, named, "out").unreadable_inputs == named


KILLED = """
import itertools, os, signal, sys
from keras_lodin.workflows import score_to_folder
detector, images, output, moment = sys.argv[1:]
steps = itertools.count()
def killed(event, arguments):
    changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
    if changes and next(steps) == int(moment):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(killed)
score_to_folder(detector, [images], output, shard_size=3, format="csv", verbose=0)
"""


def start(*arguments):
    command = [processes.forked("python"), "-c", KILLED, *map(str, arguments)]
    return subprocess.run(command, cwd=processes.ROOT, timeout=600).returncode


def test_killed_at_any_moment_no_row_is_lost_or_there_twice(detector, images, tmp_path):
    drawn = random.Random(0)
    output = tmp_path / "out"
    for _ in range(3):
        assert start(detector, images, output, drawn.randrange(60)) == 128 + signal.SIGKILL
    assert start(detector, images, output, -1) == 0
    found = joined(ScoreFolder(output))["key"]
    expected, _ = score_images(detector, [images])
    assert found == [row["path"] for row in expected]
    assert not [path for path in output.iterdir() if path.name.startswith(OWN_PREFIX)]


@pytest.mark.slow
def test_killed_before_every_step_no_row_is_lost_or_there_twice(detector, images, tmp_path):
    expected, skipped = score_images(detector, [images])
    moment = 0
    while True:
        output = tmp_path / str(moment)
        code = start(detector, images, output, moment)
        assert start(detector, images, output, -1) == 0
        folder = ScoreFolder(output)
        assert joined(folder)["key"] == [row["path"] for row in expected]
        assert [row for name in folder.done() for row in folder.unreadable(name)] == skipped
        assert not [path for path in output.iterdir() if path.name.startswith(OWN_PREFIX)]
        if code == 0:
            break
        moment += 7
