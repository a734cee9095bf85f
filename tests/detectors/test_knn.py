"""KNN against scikit-learn's neighbours."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import keras_lodin
from tests.detectors import heads_and_data as small


def unit(features):
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def detector():
    detector = keras_lodin.KNNDetector(small.classifier(), k=1, bank_size=500)
    detector.adapt(*small.data())
    return detector


@pytest.mark.parametrize("k", [1, 7])
def test_score_is_the_distance_of_scikit_learn(k):
    detector = keras_lodin.KNNDetector(small.classifier(), k=k, bank_size=500)
    detector.adapt(*small.data())
    neighbours = NearestNeighbors(n_neighbors=k).fit(unit(small.in_float64(small.data()[0])[0]))
    distances, _ = neighbours.kneighbors(unit(small.in_float64(small.mixed_inputs())[0]))
    np.testing.assert_allclose(small.scores(detector), -distances[:, -1], rtol=1e-5, atol=1e-6)


def test_a_sample_of_the_bank_finds_itself(detector):
    # Which of two neighbours that are nearly equal is nearer, float32 does not know.
    found = small.scores(detector, small.data()[0])
    assert found.min() > -1e-3
    assert np.median(found) == 0.0


def test_features_of_zero_have_a_score(detector):
    score = detector.head_score(np.zeros((1, small.FEATURES), "float32"), None, detector.settings)
    np.testing.assert_allclose(score, [-1.0], atol=1e-6)


def test_places_without_a_sample_are_no_neighbours(detector):
    """Also of features that point away from every sample, which 0 is nearer to."""
    away = -small.in_float64(small.mixed_inputs())[0]
    neighbours = NearestNeighbors(n_neighbors=1).fit(unit(small.in_float64(small.data()[0])[0]))
    distances, _ = neighbours.kneighbors(unit(away))
    assert distances.min() > 1.0
    found = detector.head_score(away.astype("float32"), None, detector.settings)
    np.testing.assert_allclose(found, -distances[:, 0], rtol=1e-5)


def test_of_fewer_samples_than_k_the_farthest_counts():
    """As `tune` may ask for, and whoever sets k after `adapt`."""
    detector = keras_lodin.KNNDetector(small.classifier(), k=20, bank_size=100)
    detector.adapt(*(part[:20] for part in small.data()))
    expected = small.scores(detector)
    assert expected.std() > 1e-3
    for k in (50, 100, 1000):
        detector.k = k
        np.testing.assert_array_equal(small.scores(detector), expected)


def test_a_bank_is_balanced_and_needs_no_labels():
    x, y = small.data()
    detector = keras_lodin.KNNDetector(small.classifier(), k=2, bank_size=50)
    detector.adapt(x)
    detector.adapt(x, y)
    bank = np.asarray(detector._bank)
    own = unit(small.in_float64(x)[0])
    nearest = NearestNeighbors(n_neighbors=1).fit(own).kneighbors(bank)[1][:, 0]
    assert np.bincount(y[nearest]).tolist() == [10] * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"`k` must be .*Received: k=0"),
        ({"bank_size": 0}, r"`bank_size` must be .*Received: bank_size=0"),
        ({"bank_size": 10**9}, r"takes 44.7 GB.*less than 2 GB.*Received: bank_size=1000000000"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        keras_lodin.KNNDetector(small.classifier(), **options)


def test_too_few_samples_are_refused():
    detector = keras_lodin.KNNDetector(small.classifier(), k=9)
    with pytest.raises(ValueError, match=r"needs k = 9 samples or more.*Received: 8 samples"):
        detector.adapt(small.data()[0][:8], small.data()[1][:8])
