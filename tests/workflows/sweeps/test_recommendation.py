"""The rule: what it asks of a candidate before it recommends it."""

import numpy as np
import pytest
from scipy import stats

from keras_lodin.workflows.sweeps import recommend

SEEDS = range(5)


def figures(**values):
    return {name: dict(zip(SEEDS, column, strict=True)) for name, column in values.items()}


def test_a_clear_gain_without_loss_is_recommended():
    separation = figures(off=[0.90, 0.91, 0.92, 0.90, 0.91], gq=[0.92, 0.93, 0.94, 0.92, 0.94])
    accuracy = figures(off=[0.8] * 5, gq=[0.8] * 5)
    found = recommend(separation, accuracy)
    assert found.choice == "gq"
    assert "+2.20 points" in found.reason


def test_the_interval_is_that_of_a_paired_t_test(rng):
    off, gq = rng.normal(0.9, 0.02, 5), rng.normal(0.91, 0.02, 5)
    found = recommend(figures(off=off, gq=gq), figures(off=[0.8] * 5, gq=[0.8] * 5))
    interval = stats.ttest_rel(gq, off).confidence_interval(0.95)
    np.testing.assert_allclose(found.separation["gq"].interval, (interval.low, interval.high))


def test_a_gain_that_may_be_chance_leaves_gq_off():
    separation = figures(off=[0.90, 0.94, 0.92, 0.90, 0.91], gq=[0.95, 0.91, 0.94, 0.92, 0.90])
    found = recommend(separation, figures(off=[0.8] * 5, gq=[0.8] * 5))
    assert found.choice == "off"
    assert "The best candidate, gq," in found.reason


@pytest.mark.parametrize(("lost", "choice"), [(0.005, "gq"), (0.006, "off")])
def test_half_a_point_of_accuracy_is_the_most_it_may_cost(lost, choice):
    separation = figures(off=[0.90, 0.91, 0.92, 0.90, 0.91], gq=[0.92, 0.93, 0.94, 0.92, 0.94])
    found = recommend(separation, figures(off=[0.8] * 5, gq=[0.8 - lost] * 5))
    assert found.choice == choice


def test_the_largest_gain_among_the_accurate_is_taken():
    separation = figures(
        off=[0.90, 0.91, 0.92, 0.90, 0.91],
        small=[0.91, 0.92, 0.93, 0.91, 0.925],
        large=[0.92, 0.93, 0.94, 0.92, 0.94],
        wrong=[0.99, 0.99, 0.99, 0.99, 0.98],
    )
    accuracy = figures(off=[0.8] * 5, small=[0.81] * 5, large=[0.8] * 5, wrong=[0.5] * 5)
    found = recommend(separation, accuracy)
    assert found.choice == "large"
    assert not found.admits("wrong")


def test_a_single_seed_recommends_nothing():
    found = recommend({"off": {0: 0.9}, "gq": {0: 0.99}}, {"off": {0: 0.8}, "gq": {0: 0.8}})
    assert found.choice == "off"
    assert "single seed" in found.reason


def test_nothing_but_the_control_is_no_choice():
    assert recommend({"off": {0: 0.9}}, {"off": {0: 0.8}}).choice == "off"


def test_a_missing_control_is_refused():
    with pytest.raises(ValueError, match="the control among them"):
        recommend({"gq": {0: 0.9}}, {"gq": {0: 0.8}})
    with pytest.raises(ValueError, match="the same candidates"):
        recommend({"off": {0: 0.9}, "gq": {0: 0.9}}, {"off": {0: 0.8}})
