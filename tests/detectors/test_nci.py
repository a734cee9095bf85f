"""NCI against NumPy in float64."""

import numpy as np
import pytest

import keras_lodin
from tests.detectors import heads_and_data as small


@pytest.mark.parametrize("alpha", [0.0, 1e-4, 0.3])
def test_score_is_nearness_to_the_weights_and_length(alpha):
    detector = keras_lodin.NCIDetector(small.classifier(), alpha=alpha)
    detector.adapt(small.data()[0])
    features, logits, kernel, _ = small.in_float64(small.mixed_inputs())
    offset = features - small.in_float64(small.data()[0])[0].mean(axis=0)
    nearness = np.sum(kernel.T[logits.argmax(axis=-1)] * offset, axis=-1)
    expected = nearness / np.linalg.norm(offset, axis=-1) + alpha * np.abs(features).sum(axis=-1)
    np.testing.assert_allclose(small.scores(detector), expected, rtol=1e-5, atol=1e-5)


def test_features_at_the_mean_are_near_no_weights():
    detector = keras_lodin.NCIDetector(small.classifier())
    detector.adapt(np.repeat(small.data()[0][:1], 40, axis=0))
    kernel = small.in_float64(small.data()[0])[2]
    found = small.scores(detector, small.data()[0][:1])
    assert np.all(np.abs(found) <= np.linalg.norm(kernel, axis=0).max() + 0.1)
    zeros = np.zeros((1, small.FEATURES), "float32")
    score = detector.head_score(zeros, np.zeros((1, small.CLASSES), "float32"), detector.settings)
    assert np.isfinite(score).all()


@pytest.mark.parametrize("alpha", [-0.1, np.nan, np.inf, None])
def test_impossible_settings_are_refused(alpha):
    with pytest.raises(ValueError, match=r"`alpha` must be a number, 0 or more. Received: alpha="):
        keras_lodin.NCIDetector(small.classifier(), alpha=alpha)
