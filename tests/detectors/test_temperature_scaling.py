"""The fitted temperature against scipy's minimum of the likelihood."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

import keras_lodin
from keras_lodin.detectors.statistics.feature_bank import FeatureBank
from keras_lodin.detectors.temperature_scaling import likeliest_temperature
from tests.detectors import heads_and_data as small


def noisy_data(count=400):
    """Data that the classifier was not fitted to, some of it labelled wrongly."""
    x, y = small.data(count, seed=7)
    return x, np.where(np.arange(count) % 9 == 0, (y + 1) % small.CLASSES, y)


def likeliest(logits, labels):
    def cost(temperature):
        return -log_softmax(logits / temperature, axis=-1)[np.arange(len(labels)), labels].mean()

    return minimize_scalar(cost, bounds=(0.01, 100.0), options={"xatol": 1e-10}).x


def test_temperature_and_score_are_those_of_scipy():
    detector = keras_lodin.TemperatureScalingDetector(small.classifier())
    assert detector.temperature == 1.0
    x, y = noisy_data()
    detector.adapt(x, y)
    _, logits, *_ = small.in_float64(x)
    temperature = likeliest(logits, y)
    assert not 0.95 < temperature < 1.05
    np.testing.assert_allclose(detector.temperature, temperature, rtol=1e-5)
    _, tested, *_ = small.in_float64(small.mixed_inputs())
    expected = softmax(tested / temperature, axis=-1).max(axis=-1)
    np.testing.assert_allclose(small.scores(detector), expected, rtol=1e-5)


def test_data_counted_in_parts_and_merged_give_the_same():
    x, y = noisy_data()
    whole = keras_lodin.TemperatureScalingDetector(small.classifier())
    whole.adapt(x, y)
    _, logits, *_ = small.in_float64(x)
    first, second = whole.new_statistics(), whole.new_statistics()
    whole.observe(first, [], logits[:150].astype("float32"), y[:150])
    whole.observe(second, [], logits[150:].astype("float32"), y[150:])
    second["logits"].merge(first["logits"])
    before = whole.temperature
    whole.adapt_from(second)
    np.testing.assert_allclose(whole.temperature, before, rtol=1e-6)


def test_what_a_bank_leaves_out_is_stood_for():
    """Rare classes are kept whole, and count as what they are."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [9000, 1000])
    logits = 3.0 * rng.normal(size=(10000, 2)) + 2.0 * np.eye(2)[labels] * [[1.0, 4.0]]
    bank = FeatureBank(4000, 2)
    bank.update(logits.astype("float32"), labels)
    assert len(bank.values) == 4000
    weights = np.array([3.0, 1.0])[bank.labels]
    found = likeliest_temperature(bank.values, bank.labels, weights)
    assert abs(np.log(found / likeliest(logits, labels))) < 0.1


@pytest.mark.parametrize(("turn", "share"), [(0, "100"), (1, "0")])
def test_data_without_an_error_or_worse_than_chance_are_refused(turn, share):
    detector = keras_lodin.TemperatureScalingDetector(small.classifier())
    x, _ = small.data()
    _, logits, *_ = small.in_float64(x)
    y = (logits.argmax(axis=-1) + turn) % small.CLASSES
    with pytest.raises(ValueError, match=rf"likelihood has no maximum.* 400 samples, .*{share} %"):
        detector.adapt(x, y)
    assert not detector.adapted


def test_labels_are_needed():
    with pytest.raises(ValueError, match="need labels"):
        keras_lodin.TemperatureScalingDetector(small.classifier()).adapt(small.data()[0])
