"""Models around a classifier in files: alone, with their classifier beside them, and copied."""

import copy
import json
import pickle
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

import keras_lodin
from tests import networks
from tests.processes import run_python

INPUTS = np.random.default_rng(3).uniform(size=(5, 10)).astype("float32")


def softmax():
    return keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(6, "relu"),
            layers.BatchNormalization(),
            layers.Dense(3, "softmax"),
        ]
    )


def nested():
    inputs = keras.Input((10,))
    return keras.Model(inputs, networks.dense(classes=3)(inputs))


def parts(classifier):
    """A classifier, and what may be around it: from an input to one output."""
    msp = keras_lodin.MSPDetector(classifier)
    odin = keras_lodin.ODINDetector(classifier, temperature=3.0)
    msp.threshold, odin.threshold = 0.4, 0.01
    return {
        "classifier": classifier,
        "msp": lambda x: msp(x)["is_ood"],
        "msp's logits": lambda x: msp(x)["logits"],
        "odin": lambda x: odin(x)["score"],
        "gq": keras_lodin.GQModel(classifier, seed=1),
        "penalty": keras_lodin.GradientPenaltyModel(classifier),
    }


# What one model holds of one classifier, in the order of its outputs.
TOGETHER = [
    ("classifier", "msp"),
    ("msp", "classifier"),
    ("odin", "classifier"),
    ("msp", "odin"),
    ("gq", "classifier"),
    ("classifier", "gq"),
    ("odin", "gq", "classifier"),
    ("penalty", "msp's logits"),
    ("msp", "msp's logits", "classifier"),
]


def together(names, make=softmax):
    made = parts(make())
    inputs = keras.Input((10,))
    outputs = {f"{number}": made[name](inputs) for number, name in enumerate(names)}
    return keras.Model(inputs, outputs)


def outputs_of(model):
    return {name: np.asarray(value) for name, value in model(INPUTS).items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-7)


LOAD = """
import sys
import keras
import keras_lodin
import numpy as np
folder = sys.argv[1]
inputs = np.load(folder + "/inputs.npy")
found = {}
for path in sys.argv[2:]:
    model = keras.models.load_model(path)
    for name, value in model(inputs).items():
        found[path + name] = np.asarray(value)
    model.save(path)
    again = keras.models.load_model(path)
    for name, value in again(inputs).items():
        np.testing.assert_array_equal(found[path + name], value)
    assert len(again.weights) == len(model.weights)
np.savez(folder + "/found.npz", **found)
"""


@pytest.mark.slow
def test_a_classifier_and_what_is_around_it_load_in_a_fresh_process_in_every_order(tmp_path):
    np.save(tmp_path / "inputs.npy", INPUTS)
    expected = {}
    cases = [(names, softmax) for names in TOGETHER]
    cases += [(("msp", "classifier"), networks.dense), (("gq", "odin", "classifier"), nested)]
    for number, (names, make) in enumerate(cases):
        model = together(names, make)
        path = tmp_path / f"{number}.keras"
        model.save(path)
        expected |= {f"{path}{name}": value for name, value in outputs_of(model).items()}

    run_python(LOAD, tmp_path, *sorted(tmp_path.glob("*.keras")))

    with np.load(tmp_path / "found.npz") as found:
        assert_same(dict(found), expected)


def test_the_classifier_is_one_again_after_loading(tmp_path):
    together(("odin", "gq", "classifier")).save(tmp_path / "model.keras")

    loaded = keras.models.load_model(tmp_path / "model.keras")

    held = {id(layer.classifier) for layer in loaded.layers if hasattr(layer, "classifier")}
    (classifier,) = (layer for layer in loaded.layers if isinstance(layer, keras.Sequential))
    assert held == {id(classifier)}


def without_notes(config):
    """A configuration as it was written before classifiers were noted as shared."""
    if isinstance(config, dict):
        return {k: without_notes(v) for k, v in config.items() if k != "shared_object_id"}
    return [without_notes(value) for value in config] if isinstance(config, list) else config


def test_a_file_without_the_note_still_loads(tmp_path):
    detector = keras_lodin.MSPDetector(softmax())
    detector.threshold = 0.4
    detector.save(tmp_path / "new.keras")
    with (
        zipfile.ZipFile(tmp_path / "new.keras") as new,
        zipfile.ZipFile(tmp_path / "old.keras", "w") as old,
    ):
        for name in new.namelist():
            content = new.read(name)
            if name == "config.json":
                content = json.dumps(without_notes(json.loads(content)))
            old.writestr(name, content)

    loaded = keras.models.load_model(tmp_path / "old.keras")

    assert_same(outputs_of(loaded), outputs_of(detector))


def detector():
    made = keras_lodin.ODINDetector(softmax(), temperature=3.0, class_names=["a", "b", "c"])
    made.threshold = 0.01
    return made


COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.grid(2)
@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize(
    "make", [detector, lambda: together(("odin", "msp", "classifier"))], ids=["alone", "within"]
)
def test_a_copy_is_the_same_model(way, make):
    model = make()
    assert_same(outputs_of(COPIES[way](model)), outputs_of(model))


@pytest.mark.parametrize("make", [detector, lambda: keras_lodin.GQModel(softmax(), seed=1)])
def test_a_clone_has_the_settings_and_new_weights(make):
    model = make()
    clone = keras.models.clone_model(model)
    made = type(model).from_config(model.get_config())
    for other in (clone, made):
        assert other.classifier is not model.classifier
        assert without_notes(other.get_config()["classifier"]) == without_notes(
            model.get_config()["classifier"]
        )
        other.set_weights(model.get_weights())
        for left, right in zip(
            keras.tree.flatten(other(INPUTS)), keras.tree.flatten(model(INPUTS)), strict=True
        ):
            np.testing.assert_array_equal(left, right)


WRONG_NAMES = ["x.h5", "x.hdf5", "x", "x.tf", "x.weights.h5", "x.onnx", "folder/x.h5", "x.keras.h5"]


@pytest.mark.parametrize("name", WRONG_NAMES)
@pytest.mark.parametrize("make", [detector, lambda: keras_lodin.GQModel(softmax())])
def test_a_file_of_another_kind_is_refused_before_it_is_written(make, name, tmp_path):
    with pytest.raises(ValueError, match=r"saved to a `\.keras` file: `save\('x\.keras'\)`.*Rec"):
        make().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.h5", "x.keras", "x", "weights"])
def test_weights_go_to_a_file_that_says_so(name, tmp_path):
    with pytest.raises(ValueError, match=r"`\.weights\.h5`.*`save\('\w+\.keras'\)`.*Received"):
        detector().save_weights(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [detector, lambda: keras_lodin.GQModel(softmax())])
def test_weights_alone_are_saved_and_loaded(make, tmp_path):
    model, other = make(), make()
    model.save_weights(tmp_path / "x.weights.h5")
    other.load_weights(tmp_path / "x.weights.h5")
    for left, right in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("make", [detector, lambda: together(("msp", "classifier"))])
def test_kerass_function_for_files_and_models_around_refuse_hdf5_too(make, tmp_path):
    with pytest.raises(ValueError, match=r"saved to a `\.keras` file.*Received: '.*' in a `\.h5`"):
        keras.saving.save_model(make(), tmp_path / "x.h5")


def test_a_folder_is_written_where_it_is_asked_for(tmp_path):
    model = detector()
    model.save(tmp_path / "folder", zipped=False)
    assert_same(outputs_of(keras.models.load_model(tmp_path / "folder")), outputs_of(model))
