"""A threshold and p-values from scores that were counted, as from the scores."""

import numpy as np
import pytest

import keras_lodin
from keras_lodin.metrics import ScoreHistogram
from keras_lodin.metrics.p_values import TABLE_ERROR
from tests import networks


@pytest.fixture(scope="module")
def detector():
    return keras_lodin.MSPDetector(networks.dense())


def counted(scores):
    histogram = ScoreHistogram()
    histogram.update(scores)
    return histogram


@pytest.mark.parametrize("confidence", [None, 0.9])
@pytest.mark.parametrize("count", [60, 6000])
def test_counted_scores_calibrate_as_the_data_do(detector, rng, count, confidence):
    data = rng.uniform(size=(count, 10)).astype("float32")
    expected = detector.calibrate(data, tpr=0.9, confidence=confidence, batch_size=2000)
    scores = detector.predict(data, batch_size=2000, verbose=0)["score"]
    known = [weight.numpy() for weight in detector.non_trainable_variables]
    detector.forget_calibration()
    assert detector.calibrate_from(counted(scores), 0.9, confidence) == expected
    for before, after in zip(known, detector.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(after.numpy(), before)
    assert (detector.calibration_count, detector.p_value_count) == (count, count)
    assert (detector.tpr, detector.confidence) == (0.9, confidence)


def test_of_many_scores_another_pass_is_asked_for(detector, rng):
    scores = rng.normal(size=200_000).astype("float32")
    histogram = counted(scores)
    before = detector.threshold
    with pytest.raises(ValueError, match=r"Count the scores once more, with `scores.finer"):
        detector.calibrate_from(histogram, 0.95)
    assert detector.threshold == before
    finer = histogram.finer(0.95)
    finer.update(scores)
    threshold = detector.calibrate_from(finer, 0.95)
    assert threshold == keras_lodin.metrics.threshold_at_tpr(scores, 0.95)
    fresh = rng.normal(size=1000).astype("float32")
    exact = (1 + np.searchsorted(np.sort(scores), fresh, "right")) / 200_001
    above = np.asarray(detector.p_value(fresh)) - exact
    assert -1e-6 < above.min() <= above.max() < TABLE_ERROR


def test_what_calibrates_nothing_is_refused(detector):
    with pytest.raises(TypeError, match="ScoreHistogram"):
        detector.calibrate_from(np.ones(20))
    with pytest.raises(ValueError, match="no scores"):
        detector.calibrate_from(ScoreHistogram())
    with pytest.raises(ValueError, match="`tpr` must be"):
        detector.calibrate_from(counted([1.0]), tpr=95)
    with pytest.raises(ValueError, match="2 infinite"):
        detector.calibrate_from(counted([1.0, np.inf, -np.inf]))
    with pytest.warns(UserWarning, match="2 samples cannot show that 95 %"):
        assert detector.calibrate_from(counted([1.0, 2.0])) == -np.inf
