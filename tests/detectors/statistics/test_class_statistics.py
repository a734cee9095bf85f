"""Streamed statistics against numpy and scikit-learn on features that are all in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import OAS, EmpiricalCovariance

from keras_lodin.detectors.statistics.class_statistics import ClassStatistics, oas_shrinkage, whiten

CLASSES = 4


def labelled_features(rng, count=60, size=5, offset=3.0):
    # The last class has twice as many as the others.
    labels = rng.permutation(np.minimum(np.arange(count) % (CLASSES + 1), CLASSES - 1))
    mixing = rng.normal(size=(size, size))
    centres = offset * rng.normal(size=(CLASSES, size))
    return (rng.normal(size=(count, size)) @ mixing + centres[labels]), labels


def streamed(features, labels, cuts=(), classes=CLASSES):
    statistics = ClassStatistics(classes, features.shape[1])
    for part in np.split(np.arange(len(features)), cuts):
        statistics.update(features[part], labels[part])
    return statistics


def centred(features, labels):
    means = np.array([features[labels == c].mean(axis=0) for c in range(labels.max() + 1)])
    return features - means[labels]


def squared_distances(whitening, features):
    mapped = (features - whitening.mean) @ whitening.matrix
    return ((mapped[:, None] - whitening.centres) ** 2).sum(-1)


def agree(one, other, scale=1.0):
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_allclose(one.means, other.means, rtol=1e-10, atol=1e-10 * scale)
    np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-9, atol=1e-9 * scale**2)


# --- Streaming -------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 60), max_size=8).map(sorted),
    offset=st.sampled_from([0.0, 1.0, 1e4]),
)
def test_batches_and_their_order_do_not_matter(seed, cuts, offset):
    rng = np.random.default_rng(seed)
    features, labels = labelled_features(rng, offset=offset)
    whole = streamed(features, labels)
    agree(streamed(features, labels, cuts), whole, 1.0 + offset)
    order = rng.permutation(len(features))
    agree(streamed(features[order], labels[order], cuts), whole, 1.0 + offset)


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 9))
def test_statistics_are_those_of_the_definition(seed, size):
    features, labels = labelled_features(np.random.default_rng(seed), size=size)
    found = streamed(features, labels, cuts=[7, 8, 40])
    deviations = centred(features, labels)
    np.testing.assert_allclose(found.covariance, deviations.T @ deviations / 60, atol=1e-10)
    np.testing.assert_allclose(found.mean, features.mean(axis=0), atol=1e-12)
    assert found.count == 60


def test_sums_of_squares_do_not_cancel():
    """The textbook formula, E[z^2] - E[z]^2, has no digit left here."""
    rng = np.random.default_rng(0)
    noise, labels = labelled_features(rng)
    found = streamed(noise + 1e8, labels, cuts=range(1, 60))
    np.testing.assert_allclose(found.covariance, streamed(noise, labels).covariance, rtol=1e-6)


def test_features_that_are_not_finite_are_refused_and_change_nothing(rng):
    features, labels = labelled_features(rng)
    statistics = streamed(features, labels)
    with pytest.raises(ValueError, match=r"features must be finite.*Received: 1 of 300 features"):
        statistics.update(np.where(features == features[3, 2], np.nan, features), labels)
    agree(statistics, streamed(features, labels))


# --- Distances -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full rank", "dead features", "few samples", "copied features"])
def test_distances_are_those_of_scikit_learn(kind, rng):
    features, labels = labelled_features(rng, count=40, size=12)
    if kind == "dead features":
        features[:, [2, 7]] = 0.0
    elif kind == "few samples":
        features, labels = features[:10], np.arange(10) % CLASSES
    elif kind == "copied features":
        features[:, 3] = features[:, 1] - 2.0 * features[:, 5]
    whitening = whiten(streamed(features, labels), shrinkage=0.0)
    reference = EmpiricalCovariance(assume_centered=True).fit(centred(features, labels))
    means = np.array([features[labels == c].mean(axis=0) for c in range(CLASSES)])
    for other in (features, rng.normal(size=(9, 12))):
        expected = np.stack([reference.mahalanobis(other - mean) for mean in means], axis=-1)
        found = squared_distances(whitening, other)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    assert whitening.shrinkage == 0.0


def test_rounding_errors_of_float32_are_no_direction_of_their_own(rng):
    """A sum of other features, computed in single precision, far from zero."""
    features, labels = labelled_features(rng, size=6)
    features = (0.01 * features + 1.0).astype("float32")
    features[:, 5] = features[:, 0] + features[:, 1] * np.float32(0.7)
    statistics = streamed(features, labels)
    smallest, second = np.linalg.eigvalsh(statistics.covariance)[:2]
    assert 0.0 < smallest < 1e-6 * second
    pseudo = whiten(statistics, 0.0)
    assert np.linalg.matrix_rank(pseudo.matrix) == 5
    assert whiten(statistics).shrinkage > 0.0


@given(seed=st.integers(0, 2**32 - 1))
def test_distances_stay_under_an_invertible_map_of_the_features(seed):
    rng = np.random.default_rng(seed)
    features, labels = labelled_features(rng)
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    mapping = rotation * rng.uniform(0.2, 5.0, size=5)
    shift = rng.normal(size=5)
    before = squared_distances(whiten(streamed(features, labels), 0.0), features)
    mapped = features @ mapping + shift
    after = squared_distances(whiten(streamed(mapped, labels), 0.0), mapped)
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)


def test_a_class_without_samples_is_not_present(rng):
    features, labels = labelled_features(rng)
    kept = labels != 2
    whitening = whiten(streamed(features[kept], labels[kept]))
    np.testing.assert_array_equal(whitening.present, [True, True, False, True])
    np.testing.assert_array_equal(whitening.centres[2], 0.0)


# --- Shrinkage -------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(3, 60), size=st.integers(2, 12))
def test_shrinkage_is_that_of_scikit_learn(seed, count, size):
    rng = np.random.default_rng(seed)
    deviations = rng.normal(size=(count, size)) @ rng.normal(size=(size, size))
    reference = OAS(assume_centered=True).fit(deviations)
    found = oas_shrinkage(deviations.T @ deviations / count, count)
    assert found == pytest.approx(reference.shrinkage_, rel=1e-9)


def test_estimated_shrinkage_gives_the_distances_of_scikit_learn(rng):
    features, labels = labelled_features(rng, count=16, size=20)
    deviations = centred(features, labels)
    reference = OAS(assume_centered=True).fit(deviations)
    whitening = whiten(streamed(features, labels))
    assert whitening.shrinkage == pytest.approx(reference.shrinkage_)
    found = squared_distances(whitening, features)[np.arange(16), labels]
    np.testing.assert_allclose(found, reference.mahalanobis(deviations), rtol=1e-9)


def test_full_rank_is_left_alone_and_a_given_shrinkage_is_used(rng):
    features, labels = labelled_features(rng)
    statistics = streamed(features, labels)
    assert whiten(statistics).shrinkage == 0.0
    covariance = statistics.covariance
    for shrinkage in (0.3, 1.0):
        matrix = whiten(statistics, shrinkage).matrix
        target = np.trace(covariance) / 5 * np.eye(5)
        expected = np.linalg.inv((1.0 - shrinkage) * covariance + shrinkage * target)
        np.testing.assert_allclose(matrix @ matrix.T, expected, rtol=1e-9, atol=1e-12)


# --- Refusals --------------------------------------------------------------------------------


def test_too_few_samples_or_classes_are_refused():
    features = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 4.0]])
    for labels, count, classes in (([0, 0, 0], 3, 1), ([1], 1, 1), ([], 0, 0)):
        statistics = streamed(features[: len(labels)], np.array(labels, int))
        message = rf"at least two samples, of at least two.*Received: {count} samples of {classes}"
        with pytest.raises(ValueError, match=message):
            whiten(statistics)


@pytest.mark.parametrize("shrinkage", [None, 0.0, 0.5])
def test_features_that_do_not_vary_are_refused(shrinkage):
    features = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 0.0]])
    statistics = streamed(features, np.array([0, 0, 1]))
    with pytest.raises(ValueError, match=r"must vary within classes.*Received: 3 samples of 2"):
        whiten(statistics, shrinkage)
