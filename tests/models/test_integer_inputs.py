"""Classifiers of pixels as integers: the same scores as on floats, and steps between integers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_lodin
from keras_lodin.models.head import find_head
from keras_lodin.models.integer_inputs import inputs_to_take_floats
from tests import networks
from tests.detectors.adapting import adapted

RANGE = {"input_range": (0, 255)}
DETECTORS = {
    keras_lodin.MSPDetector: {},
    keras_lodin.EnergyDetector: {},
    keras_lodin.ODINDetector: {"epsilon": 0.001, **RANGE},
    keras_lodin.MahalanobisDetector: {"epsilon": 0.001, **RANGE},
}


def network(dtype, activation=None):
    inputs = keras.Input((8, 8, 1), dtype=dtype)
    x = layers.Conv2D(4, 3, activation="tanh")(layers.Rescaling(1 / 255)(inputs))
    outputs = layers.Dense(networks.CLASSES, activation=activation)(layers.Flatten()(x))
    return keras.Model(inputs, outputs)


def divided(dtype):
    inputs = keras.Input((8, 8, 1), dtype=dtype)
    x = layers.Flatten()(inputs)  # integers still
    return keras.Model(inputs, layers.Dense(networks.CLASSES)(x / 255))


def nested(dtype):
    inputs = keras.Input((8, 8, 1), dtype=dtype)
    return keras.Model(inputs, network(dtype, "softmax")(inputs))


def sequential(dtype):
    return keras.Sequential([keras.Input((8, 8, 1), dtype=dtype), network(dtype)])


MAKERS = {
    "logits": network,
    "softmax": lambda dtype: network(dtype, "softmax"),
    "divided": divided,
    "nested": nested,
    "sequential": sequential,
}


def twins(make, dtype="uint8"):
    """A classifier of integers, and the same of floats."""
    integers, floats = make(dtype), make("float32")
    floats.set_weights(integers.get_weights())
    return integers, floats


def pixels(dtype="uint8", count=28):
    return np.random.default_rng(0).integers(0, 127, (count, 8, 8, 1)).astype(dtype)


def ready(cls, classifier, data):
    labels = np.arange(len(data)) % networks.CLASSES
    return adapted(cls(classifier, **DETECTORS[cls]), (data, labels))


@pytest.mark.grid(12)
@pytest.mark.parametrize("made", MAKERS)
@pytest.mark.parametrize("cls", DETECTORS, ids=lambda cls: cls.__name__)
def test_scores_of_pixels_are_those_of_the_same_network_of_floats(cls, made):
    integers, floats = twins(MAKERS[made])
    data = pixels()
    detector = ready(cls, integers, data)
    expected = ready(cls, floats, data.astype("float32"))(data.astype("float32"))

    for found in (detector(data), detector(data.astype("float32"))):
        for name in ("logits", "score"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)
    assert integers.inputs[0].dtype == "uint8"


@pytest.mark.grid(2)
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint16", "bool"])
def test_any_integers_may_be_pixels(dtype):
    integers, floats = twins(network, dtype)
    data = pixels().astype(dtype)
    options = DETECTORS[keras_lodin.ODINDetector]

    found = keras_lodin.ODINDetector(integers, **options)(data)["score"]

    expected = keras_lodin.ODINDetector(floats, **options)(data.astype("float32"))["score"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_step_is_not_rounded_back():
    detector = keras_lodin.ODINDetector(network("uint8"), epsilon=0.001, **RANGE)
    forward_pass = detector.forward_pass(pixels(count=2))

    moved = detector.perturb(forward_pass)

    np.testing.assert_allclose(np.abs(moved - forward_pass.inputs), 0.255, atol=1e-4)
    assert np.any(forward_pass.logits_at(moved) != forward_pass.logits)


@pytest.mark.slow
@pytest.mark.grid(2)
@pytest.mark.parametrize("made", ["nested", "logits"])
def test_training_with_gq_on_pixels_is_that_on_floats(made):
    logs = []
    for classifier in twins(MAKERS[made]):
        model = keras_lodin.GQModel(classifier, seed=0)
        model.compile(
            "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=made != "nested")
        )
        data = pixels().astype(classifier.inputs[0].dtype)
        labels = np.arange(28) % networks.CLASSES
        logs.append(model.fit(data, labels, shuffle=False, verbose=0).history)
    for name, values in logs[1].items():
        np.testing.assert_allclose(logs[0][name], values, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_all_that_asks_data_of_a_detector_takes_pixels():
    data, labels = pixels(), np.arange(28) % networks.CLASSES
    classifier = network("uint8")
    detector = keras_lodin.ODINDetector(classifier, **RANGE)
    detector.tune(data, temperatures=[1.0, 10.0], epsilons=[0.0, 0.001])
    detector.calibrate(data)
    keras_lodin.evaluate({"odin": detector}, (data, labels), {"noise": pixels()[::-1]}, verbose=0)
    assert keras_lodin.gradient_quotient(classifier, data, labels).shape == (28,)


def test_a_saved_detector_of_pixels_steps_as_before(tmp_path):
    detector = keras_lodin.ODINDetector(network("uint8"), epsilon=0.001, **RANGE)
    detector.save(tmp_path / "detector.keras")

    loaded = keras.models.load_model(tmp_path / "detector.keras")

    assert loaded.classifier.inputs[0].dtype == "uint8"
    np.testing.assert_allclose(loaded(pixels())["score"], detector(pixels())["score"], rtol=1e-6)


def test_the_users_classifier_still_takes_integers():
    classifier = network("uint8")
    before = classifier(pixels())
    keras_lodin.ODINDetector(classifier, **RANGE).predict(pixels(), verbose=0)

    assert classifier.inputs[0].dtype == "uint8"
    np.testing.assert_array_equal(classifier(pixels()), before)
    # It casts, as ever: half a step between two integers is none.
    np.testing.assert_array_equal(classifier(pixels().astype("float32") + 0.5), before)


@pytest.mark.parametrize(
    "make",
    [
        lambda: network("float32"),
        lambda: network("float16"),
        networks.subclassed,
        lambda: keras.Sequential([keras.Input((4,), dtype="int32"), layers.Embedding(9, 2)]),
    ],
)
def test_other_classifiers_are_run_as_they_are(make):
    assert inputs_to_take_floats(make()) == []


class ScalesIntegers(layers.Layer):
    """Takes integers for pixels, and floats for what is scaled already."""

    def call(self, x):
        return keras.ops.cast(x, "float32") / (255.0 if "int" in str(x.dtype) else 1.0)


def test_a_classifier_that_tells_integers_from_floats_is_run_on_integers():
    inputs = keras.Input((4,), dtype="uint8")
    classifier = keras.Model(inputs, layers.Dense(3)(ScalesIntegers()(inputs)))
    assert inputs_to_take_floats(classifier) == []


def test_an_error_within_leaves_the_types_as_they_were():
    classifier = network("uint8")
    with pytest.raises(Exception, match=r"(?s)."):
        find_head(classifier).logits(tf.zeros((2, 3)))
    assert classifier.inputs[0].dtype == "uint8"
