"""ReAct against NumPy's percentile, in float64."""

import numpy as np
import pytest
from scipy.special import logsumexp

import keras_lodin
from tests import networks
from tests.detectors import heads_and_data as small


@pytest.fixture(scope="module")
def detector():
    made = keras_lodin.ReActDetector(small.classifier())
    made.adapt(*small.data())
    return made


@pytest.mark.parametrize("percentile", [*keras_lodin.ReActDetector.percentile.candidates, 0.333])
def test_score_is_that_of_numpy_for_every_candidate_after_one_adapt(detector, percentile):
    training, *_ = small.in_float64(small.data()[0])
    features, logits, kernel, bias = small.in_float64(small.mixed_inputs())
    expected = np.minimum(features, np.percentile(training, 100 * percentile)) @ kernel + bias
    if percentile == 1.0:
        expected = logits
    detector.percentile = percentile
    np.testing.assert_allclose(small.scores(detector), logsumexp(expected, axis=-1), rtol=1e-5)


def test_neither_labels_nor_their_order_change_the_percentiles(detector):
    x, y = small.data()
    other = keras_lodin.ReActDetector(small.classifier())
    for data in ((x,), (x[::-1], y[::-1])):
        other.adapt(*data)
        np.testing.assert_allclose(other._percentiles, detector._percentiles, rtol=1e-6)


def test_no_features_have_a_score(detector):
    settings = {"percentile": 0.9}
    score = detector.head_score(np.zeros((1, small.FEATURES), "float32"), None, settings)
    *_, bias = small.in_float64(small.mixed_inputs())
    np.testing.assert_allclose(score, [logsumexp(bias)], rtol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_what_is_no_number_stays_so(detector, count):
    features = np.full((count, small.FEATURES), np.nan, "float32")
    assert np.isnan(detector.head_score(features, None, {"percentile": 0.9})).all()


def test_signed_features_are_refused():
    with pytest.raises(ValueError, match=r"ReActDetector needs features that are not negative"):
        keras_lodin.ReActDetector(networks.dense())


@pytest.mark.parametrize("percentile", [90, -0.1, 0.9995, "0.9", None])
def test_what_is_no_percentile_is_refused(percentile):
    with pytest.raises(ValueError, match=r"`percentile` must be a fraction .* Received: perce"):
        keras_lodin.ReActDetector(small.classifier(), percentile=percentile)
