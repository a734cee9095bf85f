"""NNGuide against NumPy in float64."""

import numpy as np
import pytest
from scipy.special import logsumexp

import keras_lodin
from tests.detectors import heads_and_data as small


def unit(features):
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)


def guided(train, train_logits, test, logits, k):
    bank = logsumexp(train_logits, axis=-1, keepdims=True) * unit(train)
    largest = -np.sort(-(unit(test) @ bank.T), axis=-1)[:, :k]
    return logsumexp(logits, axis=-1) * largest.mean(axis=-1)


@pytest.fixture(scope="module")
def adapted():
    detector = keras_lodin.NNGuideDetector(small.classifier(), bank_size=500)
    detector.adapt(small.data()[0])
    return detector


@pytest.mark.parametrize("k", [1, 10, 400, 1000])
def test_score_is_the_guided_energy(adapted, k):
    """Of more samples than there are, all guide."""
    train, train_logits, *_ = small.in_float64(small.data()[0])
    features, logits, *_ = small.in_float64(small.mixed_inputs())
    found = adapted.head_score(*map(np.float32, (features, logits)), {"k": k})
    expected = guided(train, train_logits, features, logits, k)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_energies_below_zero_turn_the_sign(adapted):
    features, logits, *_ = map(np.float32, small.in_float64(small.data()[0][:20]))
    above, below = (
        np.asarray(adapted.head_score(features, logits - shift, {"k": 5})) for shift in (0.0, 50.0)
    )
    assert np.all(above > 0.0)
    assert np.all(below < 0.0)


def test_features_of_zero_have_a_score(adapted):
    zeros = np.zeros((1, small.FEATURES), "float32")
    score = adapted.head_score(zeros, np.zeros((1, small.CLASSES), "float32"), {"k": 5})
    np.testing.assert_array_equal(score, [0.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"`k` must be .*Received: k=0"),
        ({"bank_size": 10**9}, r"takes 44.7 GB.*less than 2 GB.*Received: bank_size=1000000000"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        keras_lodin.NNGuideDetector(small.classifier(), **options)


def test_too_few_samples_are_refused():
    detector = keras_lodin.NNGuideDetector(small.classifier(), k=9)
    with pytest.raises(ValueError, match=r"needs k = 9 samples or more.*Received: 8 samples"):
        detector.adapt(small.data()[0][:8])
