"""SCALE against NumPy, in float64."""

import keras
import numpy as np
import pytest
from scipy.special import logsumexp

import keras_lodin
from tests import networks
from tests.detectors import heads_and_data as small


def expected(percentile):
    features, logits, kernel, bias = small.in_float64(small.mixed_inputs())
    if percentile == 0.0:
        return logsumexp(logits, axis=-1)
    kept = features.shape[1] - round(percentile * features.shape[1])
    largest = np.sort(features, axis=-1)[:, -max(kept, 1) :]
    total = features.sum(axis=-1)
    ratio = total / np.where(total > 0.0, largest.sum(axis=-1), 1.0)
    return logsumexp((features * np.exp(ratio)[:, None]) @ kernel + bias, axis=-1)


@pytest.mark.parametrize("percentile", [*keras_lodin.ScaleDetector.percentile.candidates, 0.98])
def test_score_is_that_of_numpy(percentile):
    detector = keras_lodin.ScaleDetector(small.classifier(), percentile=percentile)
    np.testing.assert_allclose(small.scores(detector), expected(percentile), rtol=1e-5, atol=1e-5)


def test_features_of_zero_keep_their_logits_and_flat_ones_stay_finite():
    detector = keras_lodin.ScaleDetector(small.classifier(), percentile=0.98)
    *_, bias = small.in_float64(small.mixed_inputs())
    features = np.stack([np.zeros(small.FEATURES), np.full(small.FEATURES, 100.0)])
    logits = detector.head.logits(features.astype("float32"))
    scores = detector.head_score(features.astype("float32"), logits, detector.settings)
    np.testing.assert_allclose(scores[0], logsumexp(bias), rtol=1e-5)
    assert np.isfinite(scores).all()


def test_wide_flat_features_at_the_largest_percentile_stay_within_float32():
    inputs = keras.Input((75,))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.ReLU()(inputs)))
    detector = keras_lodin.ScaleDetector(model, percentile=0.98)
    assert np.isfinite(small.scores(detector, np.full((1, 75), 100.0, "float32"))).all()


def test_signed_features_are_refused():
    with pytest.raises(ValueError, match=r"ScaleDetector needs features that are not negative"):
        keras_lodin.ScaleDetector(networks.dense())


@pytest.mark.parametrize(
    ("percentile", "message"),
    [(85, "`percentile` must be a fraction"), (0.99, "`percentile` must be at most 0.98.*0.99")],
)
def test_impossible_percentiles_are_refused(percentile, message):
    with pytest.raises(ValueError, match=message):
        keras_lodin.ScaleDetector(small.classifier(), percentile=percentile)
