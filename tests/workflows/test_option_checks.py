"""Options that would have no effect, or another one than meant."""

import json
import math
import warnings

import keras
import numpy as np
import pytest

from keras_lodin import data
from keras_lodin.data.specification import overlap, parse
from keras_lodin.detectors import EnergyDetector, MahalanobisDetector, ODINDetector
from keras_lodin.workflows import export_model, train, tune_model
from keras_lodin.workflows.option_checks import (
    check_data_dir,
    check_ood,
    check_shifted,
    check_statistics,
    check_validation,
    warn_of_unreadable,
)
from keras_lodin.workflows.train_network import train_each
from tests import networks

FOLDER = "dir:elsewhere/../pictures"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("digits:0-6", "digits:0,1,2,3,4,5,6", True),
        ("digits:0-6", "digits", True),
        ("digits:0-4", "digits:4-9", True),
        ("digits:0-4", "digits:5-9", False),
        ("photos", "photos:500", True),
        ("noise:uniform", "noise:uniform:5", True),
        ("noise:uniform", "noise:gaussian", False),
        ("dir:pictures", FOLDER, True),
        ("dir:pictures[:50%]", "dir:pictures[:50%]", True),
        ("dir:pictures[:50%]", "dir:pictures[50%:]", False),
        ("dir:pictures", "npz:pictures", False),
        ("npz:a.npz", "npz:./a.npz", True),
        ("tfds:cifar10", "tfds:cifar10", True),
        ("tfds:cifar10:train", "tfds:cifar10:test", False),
        ("digits", "photos", False),
    ],
)
def test_the_same_data_by_another_name_are_the_same(first, second, same):
    assert overlap(first, second) is overlap(second, first) is same
    if same:
        with pytest.raises(ValueError, match=r"must differ.*Received: id="):
            check_ood(first, [second])
    else:
        check_ood(first, [second])


@pytest.mark.parametrize(
    ("ood", "refused"),
    [
        (["photos", "photos"], True),
        (["photos", "photos:1000"], True),
        (["dir:a", "dir:./a"], True),
        (["noise:uniform", "noise:gaussian", "noise:uniform:7"], True),
        (["digits:7-9", "digits:7,8,9"], True),
        (["digits:7-9", "digits:7"], False),
        (["dir:a[:5]", "dir:a[5:]"], False),
        (["noise:uniform", "noise:gaussian", "photos"], False),
        ([], False),
    ],
)
def test_each_set_is_named_once(ood, refused):
    if refused:
        with pytest.raises(ValueError, match=r"each data set once. Received: "):
            check_ood("digits:0-6", ood)
    else:
        check_ood("digits:0-6", ood)


def test_training_data_are_no_validation_data():
    with pytest.raises(ValueError, match="validation data are the training data"):
        check_validation("dir:a", "dir:./a")
    check_validation("dir:a[:80%]", "dir:a[80%:]")
    check_validation("digits", "digits")  # which has a part of its own for it
    check_validation("dir:a", None)


def test_home_folder_is_the_users(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse("dir:~/x").path == "/home/somebody/x"
    assert parse("npz:~/x.npz[:50%]").path == "/home/somebody/x.npz"
    assert parse("dir:./~/x").path == "./~/x"


def test_statistics_are_for_detectors_that_take_some():
    classifier = networks.convolutional()
    adapted = MahalanobisDetector(classifier)
    inputs = np.random.default_rng(0).uniform(size=(14, 8, 8, 1)).astype("float32")
    check_statistics("digits", [EnergyDetector(classifier), adapted])
    adapted.adapt((inputs, np.arange(14) % 7), verbose=0)
    for detectors in ([EnergyDetector(classifier)], [ODINDetector(classifier)], [adapted]):
        check_statistics(None, detectors)
        with pytest.raises(ValueError, match=r"--statistics.*Received: statistics='digits'"):
            check_statistics("digits", detectors)


@pytest.mark.parametrize(
    ("shifted", "message"),
    [
        (["digits:0-6"], "other data than the in-distribution data"),
        (["dir:a", "dir:./a"], "each once"),
        (["dir:a", "photos"], "cannot be out-of-distribution data too"),
    ],
)
def test_shifted_data_are_data_of_their_own(shifted, message):
    with pytest.raises(ValueError, match=rf"{message}.*Received: .*{shifted[-1]}"):
        check_shifted("digits:0-6", shifted, ["photos:50", "dir:b"])
    check_shifted("digits:0-6", ["dir:a", "npz:a"], ["photos:50", "dir:b"])


def test_folder_of_datasets_without_a_dataset_is_warned_of():
    with pytest.warns(UserWarning, match=r"--data-dir\) has no effect.*data_dir='/x'"):
        check_data_dir("/x", "digits", None, "photos")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_data_dir("/x", "digits", "tfds:svhn_cropped")
        check_data_dir("/x", "openood:cifar10:near")
        check_data_dir(None, "digits")


@pytest.fixture
def folder(tmp_path, rng):
    """Twenty images, of which four cannot be read, in two classes."""
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(10):
            path = tmp_path / "images" / label / f"{number}.png"
            keras.utils.save_img(path, rng.integers(0, 255, (8, 8, 1)), scale=False)
        for number in (3, 8):
            (tmp_path / "images" / label / f"{number}.png").write_bytes(b"no image")
    return tmp_path / "images"


def test_unreadable_files_are_counted_and_the_first_are_named(folder):
    source = data.load(f"dir:{folder}", part="test")
    warn_of_unreadable(source)  # nothing was read yet
    assert sum(len(x) for x, _ in source.batches()) == 16
    with pytest.warns(UserWarning, match=r"4 of 20 files of 'dir:.*a/3\.png: .*; \.\.\.") as caught:
        warn_of_unreadable(source)
    assert len(str(caught[0].message)) < 1000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_training_and_tuning_say_what_they_could_not_read(folder, tmp_path):
    classifier = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    classifier.save(tmp_path / "model.keras")
    spec = f"dir:{folder}"
    with pytest.warns(UserWarning, match=r"4 of 20 files"):
        train(spec, tmp_path / "model.keras", tmp_path / "run", epochs=1, verbose=0)
    with pytest.warns(UserWarning, match=r"4 of 20 files"):
        tune_model(
            *(tmp_path / "model.keras", spec, tmp_path / "energy.keras"),
            detector="energy",
            tpr=0.5,
            verbose=0,
        )
    with pytest.raises(ValueError, match=r"a detector already.*'energy', detector='odin'"):
        tune_model(tmp_path / "energy.keras", spec, tmp_path / "x.keras", detector="odin")
    with pytest.raises(ValueError, match=r"range of its own.*input_range=\(0\.0, 255\.0\)"):
        export_model(tmp_path / "energy.keras", tmp_path / "a", input_range=(0, 255))
    with pytest.raises(ValueError, match="no BatchNormalization"):
        train(
            *("digits:0-2", tmp_path / "model.keras", tmp_path / "r"),
            epochs=1,
            freeze_batch_norm=True,
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"form": "pooled"},
        {"estimator": "sampled"},
        {"estimator": "projected", "samples": 3},
        {"every": 4},
        {"temperature": 10.0},
        {"form": "logits", "gradient_penalty": 0.1},
        {"every": 2, "loss": "label_smoothing"},
        {"form": "share", "every": 3},
    ],
)
def test_settings_of_the_quotient_without_the_quotient_are_refused(settings, tmp_path):
    with pytest.raises(ValueError, match=r"has no effect without it.*Received: no gq_weight, "):
        train("digits", "small_convnet", tmp_path / "run", **settings)


def test_a_control_takes_the_settings_of_its_companions(tmp_path):
    digits = {"id": "digits:0-2", "model": "perceptron", "epochs": 1, "verbose": 0}
    run = train(
        output=tmp_path / "run", gq_weight=0.0, form="logits", estimator="sampled", **digits
    )
    written = json.loads((run / "run.json").read_text())["settings"]
    assert (written["gq_weight"], written["form"], written["estimator"]) == (
        0.0,
        "softmax",
        "exact",
    )


def test_weights_are_each_given_once(tmp_path):
    for weights in ((0.1, 0.1), (0.0, 0)):
        with pytest.raises(ValueError, match=r"--gq-weight\) must hold every weight once"):
            train_each(weights, tmp_path, id="digits", model="small_convnet")


def test_every_weight_is_looked_at_before_the_first_run(tmp_path):
    with pytest.raises(ValueError, match="`gq_weight` must be a finite number"):
        train_each((0.0, math.inf), tmp_path, id="digits", model="perceptron", epochs=1)
    assert not list(tmp_path.iterdir())


def test_plain_run_of_the_version_before_is_gone_on_with(tmp_path):
    """Its `run.json` holds settings of a quotient that it does not have."""
    from keras_lodin.workflows.train_network import _read_run

    settings = {"gq_weight": 0.0, "form": "softmax", "epochs": 3}
    before = {"settings": {**settings, "form": "pooled"}, "complete": False, "history": []}
    (tmp_path / "run.json").write_text(json.dumps(before))
    found = _read_run(tmp_path, settings)
    assert {name: found[name] for name in before} == before
    with pytest.raises(ValueError, match=r"epochs was 3 and is 4"):
        _read_run(tmp_path, {**settings, "epochs": 4})
    with pytest.raises(ValueError, match=r"form was 'pooled'"):
        _read_run(tmp_path, {**settings, "gq_weight": 0.1})
