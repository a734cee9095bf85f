"""The three variants of ASH against NumPy, in float64."""

import numpy as np
import pytest
from scipy.special import logsumexp

import keras_lodin
from keras_lodin.detectors.activation_scaling import shares_of_largest
from tests import networks
from tests.detectors import heads_and_data as small


def shaped(features, variant, kept):
    """One sample's features, as its variant has them."""
    largest = np.argsort(-features, kind="stable")[:kept]
    result = np.zeros_like(features)
    total, kept_sum = features.sum(), features[largest].sum()
    if variant == "b":
        result[largest] = total / kept
    elif variant == "p":
        result[largest] = features[largest]
    elif kept_sum > 0.0:
        result[largest] = features[largest] * np.exp(total / kept_sum)
    return result


@pytest.mark.grid(2)
@pytest.mark.parametrize("variant", "sbp")
@pytest.mark.parametrize("percentile", [None, 0.0, 0.75, 0.95])
def test_score_is_that_of_numpy(variant, percentile):
    detector = keras_lodin.ASHDetector(small.classifier(), variant, percentile)
    published = {"s": 0.9, "b": 0.65, "p": 0.6}[variant]
    assert detector.percentile == (published if percentile is None else percentile)
    features, logits, kernel, bias = small.in_float64(small.mixed_inputs())
    kept = small.FEATURES - round(detector.percentile * small.FEATURES)
    shaped_logits = np.stack([shaped(row, variant, kept) for row in features]) @ kernel + bias
    # What zeros share is another matter, below.
    judged = (features > 0.0).sum(axis=-1) >= kept
    if variant != "b" or percentile == 0.0:
        judged[:] = True
    assert judged.sum() > 20
    logits = logits if percentile == 0.0 else shaped_logits
    np.testing.assert_allclose(
        small.scores(detector)[judged], logsumexp(logits, axis=-1)[judged], rtol=1e-5, atol=1e-5
    )


def test_features_that_tie_for_the_last_places_share_them():
    features = np.array([[3.0, 1.0, 1.0, 1.0, 0.0], [0.0] * 5, [5.0, 4.0, 3.0, 2.0, 1.0]])
    shares = np.asarray(shares_of_largest(features.astype("float32"), 2))
    third = 1.0 / 3.0
    expected = [[1.0, third, third, third, 0.0], [0.4] * 5, [1.0, 1.0, 0.0, 0.0, 0.0]]
    np.testing.assert_allclose(shares, expected, rtol=1e-6)


@pytest.mark.parametrize("variant", "sbp")
def test_features_of_zero_have_the_energy_of_no_features(variant):
    detector = keras_lodin.ASHDetector(small.classifier(), variant)
    zeros = np.zeros((1, small.FEATURES), "float32")
    score = detector.head_score(zeros, detector.head.logits(zeros), detector.settings)
    *_, bias = small.in_float64(small.mixed_inputs())
    np.testing.assert_allclose(score, [logsumexp(bias)], rtol=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"ASHDetector needs features that are not negative"):
        keras_lodin.ASHDetector(networks.dense())
    with pytest.raises(ValueError, match=r'`variant` must be "s", "b" or "p". Received: .*\'x\''):
        keras_lodin.ASHDetector(small.classifier(), "x")
    with pytest.raises(ValueError, match=r"`percentile` must be at most 0.98"):
        keras_lodin.ASHDetector(small.classifier(), percentile=0.99)
