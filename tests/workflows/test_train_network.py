"""Training runs: what they leave behind, and that an interrupted one ends as a whole one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import keras_lodin
from keras_lodin.utils import files
from keras_lodin.utils.files import file_digest
from keras_lodin.workflows import train
from keras_lodin.workflows.train_network import train_each
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


@pytest.mark.grid(2)
@pytest.mark.parametrize(
    "moment",
    [
        *("before the history", "before the checkpoint"),
        pytest.param("after both", marks=pytest.mark.slow),
    ],
)
def test_interrupted_run_ends_as_the_uninterrupted_one(
    moment, uninterrupted, tmp_path, monkeypatch
):
    module = sys.modules["keras_lodin.workflows.train_network"]
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


@pytest.mark.slow
def test_interrupted_run_draws_on_as_the_uninterrupted_one(tmp_path, monkeypatch):
    """The estimator's random state and the place within `every` steps are part of the state."""
    settings = {**SETTINGS, "gq_weight": 1.0, "estimator": "projected", "every": 2, "epochs": 2}
    whole = train(output=tmp_path / "whole", **settings)
    module = sys.modules["keras_lodin.workflows.train_network"]
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


class _KilledError(BaseException):
    """Nothing that a killed process would do happens after it."""


@pytest.fixture(scope="module")
def short_whole(tmp_path_factory):
    return train(output=tmp_path_factory.mktemp("short") / "run", **{**SETTINGS, "epochs": 1})


@pytest.mark.slow
@pytest.mark.grid(4)
@pytest.mark.parametrize("last", ["run.json", "checkpoint.keras", "model.keras", "complete"])
def test_killed_at_any_write_of_a_file_it_ends_as_the_uninterrupted_one(
    last, short_whole, tmp_path, monkeypatch
):
    settings, replace, moves = {**SETTINGS, "epochs": 1}, os.replace, []

    def dies(source, target):
        moves.append("complete" if "model.keras" in moves else Path(target).name)
        if moves[-1] == last:
            raise _KilledError
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        # What a killed process leaves, an exception would clear up.
        patch.setattr(files, "_remove", lambda path: None)
        with pytest.raises(_KilledError):
            train(output=tmp_path / "run", **settings)
    assert any(name.startswith(".keras-lodin") for name in os.listdir(tmp_path / "run"))
    resumed = train(output=tmp_path / "run", **settings)
    for ours, whole in zip(weights(resumed), weights(short_whole), strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-5, atol=1e-6)
    assert sorted(os.listdir(resumed)) == ["model.keras", "run.json"]


def test_a_checkpoint_that_a_kill_left_in_a_finished_run_goes(uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path / "run")
    (tmp_path / "run" / "checkpoint.keras").write_text("")
    train(output=tmp_path / "run", gq_weight=0.1, **SETTINGS)
    assert sorted(os.listdir(tmp_path / "run")) == ["model.keras", "run.json"]


DATA = {**SETTINGS, "id": "dir:data", "epochs": 1, "batch_size": 18}


@pytest.fixture(scope="module")
def run_on_a_folder(tmp_path_factory):
    """A folder `data` with the pictures of three classes, and a finished run on them."""
    home = tmp_path_factory.mktemp("home")
    digits = load_digits()
    for label in range(3):
        (home / "data" / str(label)).mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.target == label][:6]):
            picture = Image.fromarray((image * 15.9).astype("uint8"))
            picture.save(home / "data" / str(label) / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        train(output="run", **DATA)
    return home


@pytest.fixture
def folder_of_classes(run_on_a_folder, tmp_path, monkeypatch):
    shutil.copytree(run_on_a_folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def _unfinish():
    state = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**state, "complete": False, "history": []}))


def _add(folder):
    shutil.copy(folder / "0" / "0.png", folder / "0" / "more.png")


def _remove_one(folder):
    (folder / "1" / "0.png").unlink()


def _rename(folder):
    (folder / "1" / "0.png").rename(folder / "1" / "9.png")


def _other_content(folder):
    Image.new("L", (8, 8)).save(folder / "2" / "0.png")


def _swap_classes(folder):
    (folder / "0").rename(folder / "x")
    (folder / "1").rename(folder / "0")
    (folder / "x").rename(folder / "1")
    shutil.copy(folder / "0" / "1.png", folder / "0" / "0.png")


def _unreadable(folder):
    (folder / "2" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def _new_class(folder):
    (folder / "0").rename(folder / "zero")


def _move(folder):
    (folder / "0" / "1.png").rename(folder / "1" / "moved.png")


@pytest.mark.grid(8)
@pytest.mark.filterwarnings("ignore:.*could not be read and were skipped:UserWarning")
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        *(_add, _remove_one, _rename, _other_content, _swap_classes, _unreadable, _new_class),
        _move,
    ],
)
def test_a_run_does_not_go_on_with_other_data(change, finished, folder_of_classes):
    if not finished:
        _unfinish()
    change(folder_of_classes)
    with pytest.raises(ValueError, match=r"begun on other data.* training: .*Received: output="):
        train(output="run", **DATA)


def test_a_run_goes_on_with_the_same_data_copied_anew(folder_of_classes, tmp_path):
    _unfinish()
    shutil.copytree(folder_of_classes, tmp_path / "copy")
    shutil.rmtree(folder_of_classes)
    (tmp_path / "copy").rename(folder_of_classes)
    (folder_of_classes / "README.txt").write_text("no image")
    train(output="run", **DATA)
    assert json.loads(Path("run/run.json").read_text())["complete"]


def test_a_run_does_not_go_on_from_another_network(uninterrupted, folder_of_classes, tmp_path):
    network = tmp_path / "network.keras"
    shutil.copy(uninterrupted / "model.keras", network)
    settings = {**DATA, "model": str(network)}
    state = json.loads(Path("run/run.json").read_text())
    state["settings"]["model"] = str(network)
    state["data"]["model"] = {"files": file_digest(network)}
    Path("run/run.json").write_text(json.dumps({**state, "complete": False, "history": []}))
    model = keras.models.load_model(network)
    model.set_weights([0.5 * values for values in model.get_weights()])
    model.save(network)
    with pytest.raises(ValueError, match=r"begun on other data.* model: "):
        train(output="run", **settings)


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "{", "null", '{"settings": {}}', '{"settings": 1, "history": []}']
)
def test_a_damaged_state_is_named(content, tmp_path):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json of the run is damaged.*Received: output="):
        train(output=tmp_path, **SETTINGS)


def test_a_run_inside_its_own_data_is_refused(folder_of_classes):
    settings = {**SETTINGS, "id": f"dir:{folder_of_classes}"}
    with pytest.raises(ValueError, match="also an input"):
        train(output=folder_of_classes / "run", **settings)


def test_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="new or empty folder"):
        train(output=tmp_path, **SETTINGS)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
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
        ({"id": "digits:3"}, "two classes or more"),
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


@pytest.mark.parametrize(
    ("labels", "role", "outside"),
    [([0, 1, 2, -1], "id", "-1"), ([0, 1, 2, 9], "validation", "9")],
)
def test_labels_without_an_output_are_refused_before_anything_is_trained(
    labels, role, outside, tmp_path
):
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 8, 8, 1), "float32"), y=labels)
    settings = {**SETTINGS, role: f"npz:{tmp_path / 'x.npz'}"}
    with pytest.raises(ValueError, match=rf"Labels must lie in 0\.\.2.*outside: {outside}$"):
        train(output=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*could not be read and were skipped:UserWarning")
@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")
@pytest.mark.parametrize("part", ["[50%:]", pytest.param("", marks=pytest.mark.slow)])
def test_validation_on_a_folder_ends_without_a_warning(part, tmp_path, rng):
    """Keras warns of data that runs out where nobody told it how long they are."""
    for folder in ("images", "others"):
        for label in "abc":
            (tmp_path / folder / label).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 255, (4, 4, 3), "uint8")
                Image.fromarray(pixels).save(tmp_path / folder / label / f"{number}.png")
        (tmp_path / folder / "a" / "broken.png").write_bytes(b"broken")
    settings = {**SETTINGS, "id": f"dir:{tmp_path}/images", "batch_size": 4, "epochs": 2}
    validation = f"dir:{tmp_path}/others{part}"
    run = train(output=tmp_path / "run", validation=validation, **settings)
    history = json.loads((run / "run.json").read_text())["history"]
    assert ["val_loss" in row for row in history] == [True, True]
