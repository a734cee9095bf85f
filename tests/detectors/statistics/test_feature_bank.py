"""A bank is the same whatever the order, batches and parts; statistics of parts merge."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_lodin.detectors.statistics.class_means import ClassMeans
from keras_lodin.detectors.statistics.class_statistics import ClassStatistics
from keras_lodin.detectors.statistics.feature_bank import FeatureBank, _level

CLASSES = 3


def made(seed, count):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 4)).astype("float32"), rng.integers(0, CLASSES, count)


def filled(bank, values, labels, cuts):
    for part in np.split(np.arange(len(values)), sorted(cuts)):
        bank.update(values[part], labels[part])
    return bank


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 60), st.integers(0, 40))
@example(0, 20, CLASSES - 1, 10)
def test_order_batches_and_parts_do_not_matter(seed, count, capacity, cut):
    values, labels = made(seed, count)
    cut = min(cut, count)
    whole = filled(FeatureBank(capacity, CLASSES), values, labels, [])
    turned = filled(FeatureBank(capacity, CLASSES), values[::-1], labels[::-1], [cut])
    merged = filled(FeatureBank(capacity, CLASSES), values[:cut], labels[:cut], [])
    merged.merge(filled(FeatureBank(capacity, CLASSES), values[cut:], labels[cut:], []))
    for other in (turned, merged):
        np.testing.assert_array_equal(other.values, whole.values)
        np.testing.assert_array_equal(other.labels, whole.labels)
    counts = np.bincount(labels, minlength=CLASSES)
    kept = np.bincount(whole.labels, minlength=CLASSES)
    assert kept.sum() <= capacity
    assert count > capacity or kept.sum() == count
    if capacity < np.count_nonzero(counts):
        assert kept.sum() == capacity
        assert kept.max() == 1
        return
    # No class has fewer than another unless that is all that it has.
    assert all(kept[c] == counts[c] or kept[c] >= kept.max() for c in range(CLASSES))


@pytest.mark.parametrize(
    ("counts", "capacity", "level"),
    [([5, 5], 10, 5), ([9, 1], 6, 5), ([9, 9], 7, 3), ([0, 4], 2, 2), ([3, 3, 3], 2, 0)],
)
def test_level(counts, capacity, level):
    assert _level(np.array(counts), capacity) == level


@pytest.mark.parametrize("kind", [ClassStatistics, ClassMeans])
def test_merged_statistics_are_those_of_all_samples(kind):
    values, labels = made(0, 40)
    whole, first, second = (kind(CLASSES, 4) for _ in range(3))
    whole.update(values, labels)
    first.update(values[:13], labels[:13])
    second.update(values[13:], labels[13:])
    first.merge(second)
    first.merge(kind(CLASSES, 4))
    for name, value in vars(whole).items():
        np.testing.assert_allclose(vars(first)[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(first.mean, values.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClassStatistics(CLASSES, 4),
        lambda: ClassMeans(CLASSES, 4),
        lambda: FeatureBank(9, CLASSES),
    ],
)
def test_features_that_are_not_finite_are_refused_and_nothing_is_counted(make):
    values, labels = made(0, 40)
    statistics = make()
    values[3, 2], values[5, 1] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"must be finite.*Received: 2 of 160 features"):
        statistics.update(values, labels)
    assert statistics.counts.sum() == 0
