"""The promise of the threshold, on real handwritten digits."""

import keras
import numpy as np
import pytest
from scipy.stats import betabinom

import keras_lodin
from tests.detectors.adapting import adapted

TPR = 0.95


@pytest.fixture(scope="module")
def trained(run):
    """A small network that has learnt the digits 0 to 6, and their three parts."""
    parts = (
        keras_lodin.data.load("digits:0-6", part=part) for part in ("train", "calibration", "test")
    )
    return keras.models.load_model(run / "model.keras"), *parts


@pytest.mark.grid(7)
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (keras_lodin.ODINDetector, {}),
        (keras_lodin.ODINDetector, {"temperature": 1.0, "epsilon": 0.01}),
        (keras_lodin.MSPDetector, {}),
        (keras_lodin.MaxLogitDetector, {}),
        (keras_lodin.EnergyDetector, {}),
        (keras_lodin.MahalanobisDetector, {}),
        (keras_lodin.MahalanobisDetector, {"epsilon": 0.01}),
    ],
)
def test_95_percent_of_fresh_data_passes_within_sampling_error(trained, cls, options):
    model, train, calibration, test = trained
    detector = adapted(cls(model, **options), (train,))
    detector.calibrate(calibration, tpr=TPR)
    passed = int((~detector.predict(test.batches(), verbose=0)["is_ood"]).sum())
    # At the k-th largest of n calibration scores, a beta(k, n + 1 - k) fraction of the population
    # passes: the count among m fresh samples is beta-binomial. The threshold lies between that
    # score and the next.
    n, m = calibration.count, test.count
    k = int(np.ceil(TPR * (n + 1)))
    low, high = betabinom(m, k, n + 1 - k).ppf(0.001), betabinom(m, k + 1, n - k).ppf(0.999)
    assert low <= passed <= high, (passed / m, low / m, high / m)


def test_held_out_digits_score_lower(trained):
    model, train, _, test = trained
    unknown = keras_lodin.data.load("digits:7-9", part="test")
    assert float(np.mean(model.predict(test.batches(), verbose=0).argmax(-1) == labels(test))) > 0.9
    for cls in (keras_lodin.ODINDetector, keras_lodin.MahalanobisDetector):
        detector = adapted(cls(model), (train,))
        known_scores = detector.predict(test.batches(), verbose=0)["score"]
        unknown_scores = detector.predict(unknown.batches(), verbose=0)["score"]
        assert keras_lodin.metrics.auroc(known_scores, unknown_scores) > 0.8, cls


def labels(source):
    return np.concatenate([np.asarray(y) for _, y in source.batches()])
