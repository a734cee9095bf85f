"""Means over seeds, their intervals, and differences paired by seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from keras_lodin.metrics.over_seeds import over_ood_sets, paired_difference, spread

values = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6)


@given(values)
def test_the_interval_is_scipys(numbers):
    found = spread(dict(enumerate(numbers)))
    assert found.mean == pytest.approx(np.mean(numbers))
    if np.ptp(numbers) > 1e-9:
        expected = stats.ttest_1samp(numbers, 0.0).confidence_interval(0.95)
        assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.values == dict(enumerate(numbers))


@given(values, values)
def test_a_difference_is_that_of_a_paired_t_test(first, second):
    count = min(len(first), len(second))
    found = paired_difference(dict(enumerate(first)), dict(enumerate(second)))
    differences = np.subtract(first[:count], second[:count])
    assert found.mean == pytest.approx(differences.mean())
    assert sorted(found.values) == list(range(count))
    if np.ptp(differences) > 1e-9:
        p_value = stats.ttest_rel(first[:count], second[:count]).pvalue
        if abs(p_value - 0.05) > 1e-6:
            assert found.inconclusive == (p_value > 0.05)


def test_one_seed_has_no_interval_and_is_inconclusive():
    found = spread({3: 0.5})
    assert found.interval is None
    assert found.inconclusive


def test_the_same_difference_in_every_seed_is_conclusive_unless_zero():
    assert not paired_difference({0: 0.5, 1: 0.25}, {0: 0.25, 1: 0.0}).inconclusive
    assert paired_difference({0: 0.5, 1: 0.25}, {0: 0.5, 1: 0.25}).inconclusive


def test_recipes_without_a_seed_in_common_are_refused():
    with pytest.raises(ValueError, match=r"share none. Received: seeds \[0\] and \[1\]"):
        paired_difference({0: 0.5}, {1: 0.5})


def test_figures_are_plain_means_over_the_sets_of_one_detector():
    rows = [
        {"detector": name, "ood": ood, "auroc": auroc, "fpr95": 1 - auroc, "id_accuracy": 0.9}
        for name, ood, auroc in (("a", "x", 0.5), ("a", "y", 0.7), ("b", "x", 0.1))
    ]
    assert over_ood_sets(rows, "a") == pytest.approx(
        {"auroc": 0.6, "fpr95": 0.4, "id_accuracy": 0.9}
    )
    with pytest.raises(ValueError, match=r"The evaluation has a, b. Received: detector='c'"):
        over_ood_sets(rows, "c")
