"""GEN and entropy against float64, also where float32 has no more digits."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import log_softmax
from scipy.stats import entropy

import keras_lodin
from tests.detectors import heads_and_data as small


def of_logits(detector_class, logits, **options):
    """The scores of a classifier whose logits are its inputs."""
    model = keras.Sequential([keras.Input((logits.shape[1],)), layers.Dense(logits.shape[1])])
    model.set_weights([np.eye(logits.shape[1]), np.zeros(logits.shape[1])])
    return small.scores(detector_class(model, **options), logits.astype("float32"))


def generalized_entropy(logits, gamma, top):
    """In extended precision, in which 1 - p has digits to spare."""
    largest = -np.sort(-logits.astype("longdouble"), axis=-1)
    exponents = np.exp(largest - largest[:, :1])
    total = exponents.sum(axis=-1, keepdims=True)
    others = np.stack([np.delete(exponents, i, axis=-1).sum(-1) for i in range(logits.shape[1])], 1)
    terms = (exponents / total) ** gamma * (others / total) ** gamma
    return -terms[:, :top].sum(axis=-1)


@pytest.mark.parametrize(("gamma", "top"), [(0.1, 100), (0.5, 3), (1.0, 7), (0.0, 2)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
def test_gen_is_the_generalized_entropy(rng, gamma, top, scale):
    logits = (scale * rng.normal(size=(50, 7))).astype("float32")
    found = of_logits(keras_lodin.GENDetector, logits, gamma=gamma, top=top)
    np.testing.assert_allclose(
        found, generalized_entropy(logits, gamma, top), rtol=2e-5, atol=1e-37
    )


def test_sure_samples_are_told_apart():
    """At 30 and 60 nats every probability is 0 or 1 in float32."""
    found = of_logits(keras_lodin.GENDetector, np.array([[30.0, 0.0, 0.0], [60.0, 0.0, 0.0]]))
    assert found[0] < found[1] < 0.0


def test_entropy_is_that_of_scipy(rng):
    logits = (20.0 * rng.normal(size=(50, 7))).astype("float32")
    found = of_logits(keras_lodin.EntropyDetector, logits)
    expected = -entropy(np.exp(log_softmax(logits.astype("float64"), axis=-1)), axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert of_logits(keras_lodin.EntropyDetector, np.array([[1e4, 0.0]]))[0] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -0.1}, r"`gamma` must lie between 0 and 1. Received: gamma=-0.1"),
        ({"top": 0}, r"`top` must be .*Received: top=0"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        keras_lodin.GENDetector(small.classifier(), **options)


def test_a_changed_setting_is_in_the_next_scores_and_forgets_the_threshold():
    detector = keras_lodin.GENDetector(small.classifier())
    detector.calibrate(small.data()[0], verbose=0)
    before = detector.predict(small.mixed_inputs(), verbose=0)["score"]
    detector.gamma = 0.5
    after = detector.predict(small.mixed_inputs(), verbose=0)["score"]
    assert not detector.calibrated
    assert not np.allclose(before, after)
    assert detector.get_config()["gamma"] == 0.5
