"""The relative Mahalanobis distance against scikit-learn's covariances."""

import numpy as np
import pytest
from sklearn.covariance import OAS, EmpiricalCovariance, ShrunkCovariance

import keras_lodin
from keras_lodin.detectors.statistics.class_statistics import ClassStatistics
from tests.detectors import heads_and_data as small


def relative(train, labels, test, kind=EmpiricalCovariance, **options):
    """`max_c -(d_c^2 - d_0^2)`, both covariances by scikit-learn."""
    classes = np.unique(labels)
    means = np.stack([train[labels == c].mean(axis=0) for c in classes])
    fitted = means[np.searchsorted(classes, labels)]
    within = kind(assume_centered=True, **options).fit(train - fitted)
    between = EmpiricalCovariance().fit(fitted).covariance_
    to_all = test - train.mean(axis=0)
    squared = np.sum(to_all @ np.linalg.pinv(within.covariance_ + between) * to_all, axis=-1)
    return np.max([squared - within.mahalanobis(test - mean) for mean in means], axis=0)


def adapted(**options):
    detector = keras_lodin.RMDSDetector(small.classifier(), **options)
    detector.adapt(*small.data())
    return detector


def unit(features):
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


def test_score_is_that_of_two_covariances_of_scikit_learn():
    x, y = small.data()
    train, test = small.in_float64(x)[0], small.in_float64(small.mixed_inputs())[0]
    detector = adapted()
    assert detector.shrinkage_used == 0.0
    expected = relative(train, y, test)
    # With full rank within and between add up to scikit-learn's own covariance of all.
    whole = EmpiricalCovariance().fit(train).mahalanobis(test)
    means = [train[y == c].mean(axis=0) for c in range(small.CLASSES)]
    within = EmpiricalCovariance(assume_centered=True).fit(train - np.stack(means)[y])
    np.testing.assert_allclose(
        expected, whole - np.min([within.mahalanobis(test - mean) for mean in means], axis=0)
    )
    np.testing.assert_allclose(
        small.scores(detector), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("shrinkage", [None, 0.3])
def test_both_covariances_have_the_same_shrinkage(normalize, shrinkage):
    x, y = small.data()
    x, y = (x[:10], y[:10]) if shrinkage is None else (x, y)
    train, test = small.in_float64(x)[0], small.in_float64(small.mixed_inputs())[0]
    train, test = (unit(train), unit(test)) if normalize else (train, test)
    detector = keras_lodin.RMDSDetector(
        small.classifier(), normalize=normalize, shrinkage=shrinkage
    )
    detector.adapt(x, y)
    kind, options = (OAS, {}) if shrinkage is None else (ShrunkCovariance, {"shrinkage": 0.3})
    expected = relative(train, y, test, kind, **options)
    np.testing.assert_allclose(
        small.scores(detector), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )
    assert 0.0 < detector.shrinkage_used < 1.0


def test_directions_without_variance_within_classes_count_in_neither(rng):
    """Features of which one is the class, and one a copy."""
    labels = np.arange(200) % small.CLASSES
    free = rng.normal(size=(200, small.FEATURES - 2)) + np.eye(small.FEATURES - 2)[labels]
    train = np.column_stack([free, free[:, 0], labels])
    detector = keras_lodin.RMDSDetector(small.classifier(), shrinkage=0.0)
    statistics = ClassStatistics(small.CLASSES, small.FEATURES)
    statistics.update(train, labels)
    detector.adapt_from({"classes": statistics})
    test = 2.0 * rng.normal(size=(30, small.FEATURES))
    found = detector.head_score(test.astype("float32"), None, {})
    # What the copies have apart has no variance either.
    seen = test.copy()
    seen[:, 0] = seen[:, -2] = (test[:, 0] + test[:, -2]) / 2
    expected = relative(free, labels, seen[:, :-2])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_order_of_classes_does_not_matter_and_one_without_samples_is_left_out(rng):
    x, y = small.data()
    features, _, *_ = small.in_float64(x)
    order = rng.permutation(small.CLASSES)
    found = []
    for labels in (y, order[y]):
        statistics = ClassStatistics(small.CLASSES, small.FEATURES)
        kept = y != 3
        statistics.update(features[kept], labels[kept])
        detector = keras_lodin.RMDSDetector(small.classifier())
        detector.adapt_from({"classes": statistics})
        found.append(small.scores(detector))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
    test = small.in_float64(small.mixed_inputs())[0]
    expected = relative(features[kept], y[kept], test)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("normalize", [False, True])
def test_features_of_zero_have_a_score(normalize):
    zeros = np.zeros((1, small.FEATURES), "float32")
    assert np.isfinite(adapted(normalize=normalize).head_score(zeros, None, {})).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shrinkage": -1}, r"`shrinkage` must lie between 0 and 1.*Received: shrinkage=-1"),
        ({"normalize": 1}, r"`normalize` must be True or False. Received: normalize=1"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        keras_lodin.RMDSDetector(small.classifier(), **options)


def test_one_class_is_refused():
    x, y = small.data()
    detector = keras_lodin.RMDSDetector(small.classifier())
    with pytest.raises(ValueError, match=r"at least two classes.*Received: 400 samples of 1 cl"):
        detector.adapt(x, 0 * y)
