"""Training runs: what they leave behind, and that an interrupted one ends as a whole one."""

import json
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

import keras_lodin
from keras_lodin.workflows import train
from keras_lodin.workflows.train import train_each
from tests.processes import ROOT

SETTINGS = {"id": "digits:0-2", "model": "perceptron", "epochs": 3, "batch_size": 64}


def weights(run):
    return keras.models.load_model(run / "model.keras").get_weights()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(output=tmp_path_factory.mktemp("whole") / "run", gq_weight=0.1, **SETTINGS)


def test_run_leaves_a_plain_classifier_and_its_history(uninterrupted):
    run = json.loads((uninterrupted / "run.json").read_text())
    assert run["complete"]
    assert [row["epoch"] for row in run["history"]] == [1, 2, 3]
    assert {"loss", "accuracy", "gq", "val_loss", "val_accuracy"} < set(run["history"][0])
    assert run["class_names"] == ["0", "1", "2"]
    classifier = keras.models.load_model(uninterrupted / "model.keras")
    assert not isinstance(classifier, keras_lodin.GQModel)
    assert classifier.output_shape == (None, 3)
    assert sorted(path.name for path in uninterrupted.iterdir()) == ["model.keras", "run.json"]


class _StopError(Exception):
    pass


@pytest.mark.parametrize("moment", ["before the history", "before the checkpoint", "after both"])
def test_interrupted_run_ends_as_the_uninterrupted_one(
    moment, uninterrupted, tmp_path, monkeypatch
):
    module = sys.modules["keras_lodin.workflows.train"]
    original = module._Checkpoint.on_epoch_end

    def dies(self, epoch, logs=None):
        if epoch == 1 and moment == "before the history":
            raise _StopError
        if epoch == 1 and moment == "before the checkpoint":
            monkeypatch.setattr(keras.Model, "save", _raise_stop)
        original(self, epoch, logs)
        if epoch == 1:
            raise _StopError

    with monkeypatch.context() as patch:
        patch.setattr(module._Checkpoint, "on_epoch_end", dies)
        with pytest.raises(_StopError):
            train(output=tmp_path / "run", gq_weight=0.1, **SETTINGS)
    monkeypatch.undo()
    assert (tmp_path / "run" / "checkpoint.keras").exists()

    resumed = train(output=tmp_path / "run", gq_weight=0.1, **SETTINGS)
    for ours, whole in zip(weights(resumed), weights(uninterrupted), strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-5, atol=1e-6)
    histories = [
        json.loads((run / "run.json").read_text())["history"] for run in (resumed, uninterrupted)
    ]
    assert len(histories[0]) == 3
    for ours, whole in zip(*histories, strict=True):
        assert ours == pytest.approx(whole, rel=1e-4)


def test_interrupted_run_draws_on_as_the_uninterrupted_one(tmp_path, monkeypatch):
    """The estimator's random state and the place within `every` steps are part of the state."""
    settings = {**SETTINGS, "gq_weight": 1.0, "estimator": "projected", "every": 2, "epochs": 2}
    whole = train(output=tmp_path / "whole", **settings)
    module = sys.modules["keras_lodin.workflows.train"]
    original = module._Checkpoint.on_epoch_end

    def dies(self, epoch, logs=None):
        original(self, epoch, logs)
        if epoch == 0:
            raise _StopError

    with monkeypatch.context() as patch:
        patch.setattr(module._Checkpoint, "on_epoch_end", dies)
        with pytest.raises(_StopError):
            train(output=tmp_path / "run", **settings)
    resumed = train(output=tmp_path / "run", **settings)
    for ours, expected in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    other = train(output=tmp_path / "other", **{**settings, "seed": 1})
    assert any(np.any(a != b) for a, b in zip(weights(other), weights(whole), strict=True))


def _raise_stop(*arguments, **options):
    raise _StopError


@pytest.mark.slow
def test_killed_process_ends_as_the_uninterrupted_one(tmp_path):
    command = [
        *(sys.executable, "-m", "keras_lodin", "train", "--id", "digits:0-6"),
        *("--model", "small_convnet", "--gq-weight", "0.1", "--epochs", "12"),
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, "--output", str(whole)], cwd=ROOT, check=True)
    deaths = 0
    while not (killed / "model.keras").exists():
        process = subprocess.Popen([*command, "--output", str(killed)], cwd=ROOT)
        seen = json.loads((killed / "run.json").read_text())["history"] if deaths else []
        while process.poll() is None:
            time.sleep(0.2)
            run = killed / "run.json"
            if run.exists() and len(json.loads(run.read_text())["history"]) >= len(seen) + 4:
                process.send_signal(signal.SIGKILL)
                deaths += 1
                process.wait()
    assert deaths >= 1
    for ours, other in zip(weights(killed), weights(whole), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-5)


def test_finished_run_is_not_trained_again(uninterrupted):
    before = (uninterrupted / "model.keras").stat().st_mtime_ns
    train(output=uninterrupted, gq_weight=0.1, **SETTINGS)
    assert (uninterrupted / "model.keras").stat().st_mtime_ns == before


def test_folder_with_another_run_is_refused_and_named(uninterrupted):
    with pytest.raises(ValueError, match=r"gq_weight was 0\.1 and is 0\.5.*Received: output="):
        train(output=uninterrupted, gq_weight=0.5, **SETTINGS)


def test_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="new or empty folder"):
        train(output=tmp_path, **SETTINGS)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_several_weights_make_a_run_each_and_fine_tuning_starts_from_a_file(
    uninterrupted, tmp_path
):
    settings = {**SETTINGS, "model": str(uninterrupted / "model.keras"), "epochs": 1}
    runs = train_each([0.0, -0.1], tmp_path, learning_rate=1e-3, **settings)
    assert [run.name for run in runs] == ["gq_weight=0", "gq_weight=-0.1"]
    for run in runs:
        history = json.loads((run / "run.json").read_text())["history"]
        assert history[0]["val_accuracy"] > 0.9  # it did not start from nothing


def test_diverging_run_stops_with_the_reason_and_keeps_its_state(tmp_path):
    with pytest.raises(ValueError, match=r"no longer a finite number.*Lower the learning rate"):
        train(output=tmp_path / "run", **{**SETTINGS, "learning_rate": 1e30})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id": "photos"}, "has no labels"),
        ({"model": "resnet19"}, "Did you mean 'resnet18'"),
        ({"model": "missing.keras"}, "There is no model at that path"),
        ({"epochs": 0}, "`epochs` must be 1 or more"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive"),
        (
            {"validation": "noise:uniform"},
            "Validation needs labelled data. Received: validation='noise:uniform'",
        ),
        ({"form": "poster"}, "`form` must be one of"),
        ({"augment": "mixup"}, "`augment` must be"),
        ({"id": "digits:0-1", "gq_weight": 0.1}, "two classes"),
    ],
)
def test_mistakes_are_refused_before_anything_is_trained(settings, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        train(output=tmp_path / "run", **{**SETTINGS, **settings})
    assert "Received:" in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("validation", ["dir:{}", "dir:{}[:50%]"])
def test_validation_on_a_folder_ends_without_a_warning(validation, tmp_path, rng):
    """Keras warns of data that runs out where nobody told it how long they are."""
    folder = tmp_path / "images"
    for label in "abc":
        (folder / label).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 255, (4, 4, 3), "uint8")
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    (folder / "a" / "broken.png").write_bytes(b"broken")
    settings = {**SETTINGS, "id": f"dir:{folder}", "batch_size": 4, "epochs": 2}
    run = train(output=tmp_path / "run", validation=validation.format(folder), **settings)
    history = json.loads((run / "run.json").read_text())["history"]
    assert ["val_loss" in row for row in history] == [True, True]
