"""Trained models from files."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

import keras_lodin
from keras_lodin import models
from tests import networks


def test_a_saved_classifier_is_loaded(tmp_path, classifier, images):
    classifier.save(tmp_path / "model.keras")
    loaded = models.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), classifier(images))
    np.testing.assert_array_equal(
        models.load(str(tmp_path / "model.keras"))(images), loaded(images)
    )


def test_a_saved_detector_is_loaded(tmp_path, classifier):
    keras_lodin.EnergyDetector(classifier).save(tmp_path / "detector.keras")
    assert isinstance(models.load(tmp_path / "detector.keras"), keras_lodin.EnergyDetector)


def test_a_gq_model_gives_the_classifier_inside(tmp_path, classifier, images):
    keras_lodin.GQModel(classifier).save(tmp_path / "model.keras")
    loaded = models.load(tmp_path / "model.keras")
    assert not isinstance(loaded, keras_lodin.GQModel)
    np.testing.assert_array_equal(loaded(images), classifier(images))


def test_the_folder_of_a_training_run_gives_its_model(tmp_path, classifier, images):
    classifier.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(models.load(tmp_path)(images), classifier(images))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no model at that path.*Received: path='.*missing.keras'"
    ):
        models.load(tmp_path / "missing.keras")


@pytest.mark.parametrize("name", ["weights.h5", "model.pt", "folder"])
def test_other_kinds_of_files_are_refused(tmp_path, name):
    path = tmp_path / name
    if "." in name:
        path.write_bytes(b"weights")
    else:
        path.mkdir()
    with pytest.raises(ValueError, match=rf"must be a `.keras` file.*Received: path='.*{name}'"):
        models.load(path)


def test_a_file_that_is_no_archive_is_refused(tmp_path, classifier):
    path = tmp_path / "model.keras"
    classifier.save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"nothing of the kind", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"no `\.keras` archive.*Received: path='"):
            models.load(path)


def test_an_archive_of_another_kind_is_refused_with_keras_reason(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing of the kind")
    message = r"(?s)could not be read as a Keras model.*Keras says: .*Received: path='"
    with pytest.raises(ValueError, match=message):
        models.load(path)


class Unregistered(layers.Layer):
    def call(self, inputs):
        return inputs


def test_a_model_with_an_unknown_class_is_refused_with_its_name(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Unregistered(), layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    message = r"(?s)custom classes are registered.*Unregistered.*Received: path='"
    with pytest.raises(ValueError, match=message):
        models.load(tmp_path / "model.keras")


def test_a_package_that_is_not_installed_is_named(tmp_path, classifier):
    classifier.save(tmp_path / "whole.keras")
    with (
        zipfile.ZipFile(tmp_path / "whole.keras") as whole,
        zipfile.ZipFile(tmp_path / "model.keras", "w") as changed,
    ):
        for name in whole.namelist():
            content = whole.read(name)
            if name == "config.json":
                configuration = json.loads(content)
                configuration |= {"module": "keras_nlp.models_of_tests", "class_name": "Network"}
                configuration["registered_name"] = "Network"
                content = json.dumps(configuration).encode()
            changed.writestr(name, content)
    message = r"package `keras_nlp`, which is not installed here: `pip install keras-nlp`"
    with pytest.raises(ValueError, match=message):
        models.load(tmp_path / "model.keras")


# --- The range of the inputs -----------------------------------------------------------------


def _beginning_with(*preprocessing):
    inner = networks.convolutional()
    return keras.Sequential([keras.Input((8, 8, 1)), *preprocessing, inner])


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        ((), (0, 1)),
        ((layers.Rescaling(1 / 255),), (0, 255)),
        ((layers.Rescaling(1 / 127.5, offset=-1),), (0, 255)),
        ((layers.Rescaling(2.0, offset=-1),), (0, 1)),
        ((layers.Normalization(mean=[120.0], variance=[60.0**2]),), (0, 255)),
        ((layers.Normalization(mean=[0.5], variance=[0.2**2]),), (0, 1)),
        ((layers.Rescaling(1 / 255), layers.Normalization(mean=[0.5], variance=[0.1])), (0, 255)),
    ],
)
def test_the_range_is_read_from_the_first_layers(preprocessing, expected):
    assert models.guess_input_range(_beginning_with(*preprocessing)) == expected


def test_preprocessing_inside_of_a_nested_model_is_found():
    nested = _beginning_with(layers.Rescaling(1 / 255))
    assert models.guess_input_range(keras.Sequential([keras.Input((8, 8, 1)), nested])) == (0, 255)


def test_a_rescaling_behind_learnt_layers_is_not_preprocessing():
    inputs = keras.Input((8, 8, 1))
    x = layers.Rescaling(1 / 255)(layers.Conv2D(2, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    assert models.guess_input_range(model) == (0, 1)


@pytest.mark.parametrize("name", ["cifar10_resnet20.keras", "imagenet_efficientnet_lite0.keras"])
def test_the_range_of_real_models_is_that_of_their_description(shared_data, name):
    path = shared_data / "models" / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/models/{name}")
    assert models.guess_input_range(models.load(path)) == (0.0, 255.0)
