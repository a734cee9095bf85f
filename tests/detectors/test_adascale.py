"""AdaSCALE against its definition in NumPy, in float64, with gradients by hand."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import logsumexp

import keras_lodin
from keras_lodin.detectors.adascale import place_among
from keras_lodin.detectors.feature_pass import FeaturePass
from tests import networks
from tests.detectors import heads_and_data as small

RANGE = (-12.0, 12.0)
SETTINGS = {"k1": 0.3, "k2": 0.2, "pixel_share": 0.5, "epsilon": 0.02, "input_range": RANGE}


def movement(inputs):
    """Q of each sample: 3 (k1) and 2 (k2) of 12 features count, and 4 of 8 numbers move."""
    first, first_bias = (
        np.asarray(value, "float64") for value in small.classifier().get_layer("features").weights
    )
    kernel, bias = (
        np.asarray(value, "float64") for value in small.classifier().get_layer("logits").weights
    )
    x = np.asarray(inputs, "float64")
    before = np.maximum(x @ first + first_bias, 0.0)
    predicted = (before @ kernel + bias).argmax(axis=-1)
    gradient = ((before > 0.0) * kernel.T[predicted]) @ first.T
    moved = np.array(x)
    for row, slope in zip(moved, gradient, strict=True):
        least = np.argsort(np.abs(slope), kind="stable")[:4]
        row[least] += 0.02 * (RANGE[1] - RANGE[0]) * np.sign(slope[least])
    after = np.maximum(moved @ first + first_bias, 0.0)
    return np.array(
        [
            10.0 * summed(np.abs(h - g), h, 2) + summed(g, h, 3)
            for h, g in zip(before, after, strict=True)
        ]
    )


def summed(values, features, count):
    """Summed over the largest features; of those that tie for the last places, their mean."""
    smallest = np.sort(features)[-count]
    above, equal = features > smallest, features == smallest
    return values[above].sum() + (count - above.sum()) * values[equal].mean()


def expected(variant, low, high):
    table = np.quantile(movement(small.data()[0]), np.linspace(0.0, 1.0, 1001))
    place = np.interp(movement(small.mixed_inputs()), table, np.linspace(0.0, 1.0, 1001))
    features, logits, kernel, bias = small.in_float64(small.mixed_inputs())
    scores = []
    for h, z, percentile in zip(features, logits, high - place * (high - low), strict=True):
        largest, kept = np.sort(h)[::-1], small.FEATURES * (1.0 - percentile)
        whole = int(kept)
        ratio = h.sum() / (largest[:whole].sum() + (kept - whole) * largest[whole])
        scaled = ratio**2 * z if variant == "l" else (h * np.exp(ratio)) @ kernel + bias
        scores.append(logsumexp(scaled))
    return np.array(scores)


@pytest.fixture(scope="module", params=["a", "l"])
def detector(request):
    made = keras_lodin.AdaSCALEDetector(small.classifier(), variant=request.param, **SETTINGS)
    made.adapt(small.data()[0])
    return made


def test_movement_is_that_of_numpy(detector):
    inputs = small.mixed_inputs()
    found = detector.movement(FeaturePass(detector.head.layers, inputs))
    np.testing.assert_allclose(found, movement(inputs), rtol=1e-5)


@pytest.mark.parametrize("percentiles", [(0.75, 0.85), (0.3, 0.9), (0.5, 0.5)])
def test_score_is_that_of_numpy(detector, percentiles):
    detector.percentiles = percentiles
    found = small.scores(detector)
    np.testing.assert_allclose(found, expected(detector.variant, *percentiles), rtol=2e-5)


def test_off_is_the_energy_and_no_features_have_a_score(detector):
    detector.percentiles = (0.0, 0.0)
    _, logits, *_ = small.in_float64(small.mixed_inputs())
    np.testing.assert_allclose(small.scores(detector), logsumexp(logits, axis=-1), rtol=1e-5)
    zeros = np.zeros((1, small.FEATURES), "float32")
    settings = {"percentiles": (0.75, 0.85), "place": np.zeros(1, "float32")}
    score = detector.head_score(zeros, detector.head.logits(zeros), settings)
    *_, bias = small.in_float64(small.mixed_inputs())
    np.testing.assert_allclose(score, [logsumexp(bias)], rtol=1e-5)


def test_place_is_the_share_of_samples_below():
    rng = np.random.default_rng(0)
    sample = np.sort(np.concatenate([rng.normal(size=3000), np.full(1000, 0.5)]))
    table = np.quantile(sample, np.linspace(0.0, 1.0, 1001)).astype("float32")
    values = np.array([-9.0, -1.0, 0.0, 0.499, 0.501, 2.0, 9.0], "float32")
    below = np.searchsorted(sample, values, side="right") / len(sample)
    np.testing.assert_allclose(place_among(table, values), below, atol=2e-3)
    steps = np.array([0.0, 1.0, 4.0], "float32")
    found = place_among(steps, np.array([0.0, 0.5, 1.0, 3.0], "float32"))
    np.testing.assert_allclose(found, np.array([0.0, 0.5, 1.0, 1.0 + 2 / 3]) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "b"}, r'`variant` must be "a" or "l". Received: variant=\'b\''),
        ({"percentiles": 0.8}, r"`percentiles` must be two fractions"),
        ({"percentiles": (0.9, 0.8)}, r"`percentiles` must be two fractions"),
        ({"percentiles": (None, 0.8)}, r"`percentiles` must be two fractions"),
        ({"percentiles": ("0.7", 0.8)}, r"`percentiles` must be two fractions"),
        ({"percentiles": (0.9, 0.99)}, r"`percentiles` must be at most 0.98"),
        ({"epsilon": -1.0}, r"`epsilon` must be"),
        ({"k1": 5}, r"`k1` must lie between 0 and 1"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        keras_lodin.AdaSCALEDetector(small.classifier(), **options)


def test_signed_features_and_inputs_of_free_size_are_refused():
    with pytest.raises(ValueError, match=r"AdaSCALEDetector needs features that are not negative"):
        keras_lodin.AdaSCALEDetector(networks.dense())
    inputs = keras.Input((None, None, 1))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(3)(pooled))
    with pytest.raises(ValueError, match=r"number must be known.*inputs of shape \(None, None, 1"):
        keras_lodin.AdaSCALEDetector(model)
