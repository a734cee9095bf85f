"""Plans of a sweep: within the budget, narrowing, and as wide as can be."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keras_lodin.workflows.sweeps.halving import FINALISTS, plan, survivors

prices = st.lists(st.sampled_from([1.0, 2.0, 4.0, 11.0]), min_size=1, max_size=30)


def spent(made, costs):
    """What a plan costs if the dearest candidates always survive."""
    dearest = sorted(costs[: made.candidates], reverse=True)
    return sum(
        rung.seeds * rung.epochs * (1.0 + sum(dearest[: rung.candidates])) for rung in made.rungs
    )


@given(prices, st.integers(1, 60), st.floats(1.0, 500.0), st.integers(2, 6))
def test_plans_keep_to_the_budget_narrow_and_lengthen(costs, epochs, budget, seeds):
    if budget < seeds * (1.0 + costs[0]):
        with pytest.raises(ValueError, match="Received: budget="):
            plan(costs, epochs, budget, seeds)
        return
    made = plan(costs, epochs, budget, seeds)
    assert made.cost <= budget
    assert abs(spent(made, costs) / epochs - made.cost) < 1e-6
    assert [rung.seeds for rung in made.rungs] == [1] * (len(made.rungs) - 1) + [seeds]
    assert made.rungs[0].candidates == made.candidates
    assert made.rungs[-1].candidates <= FINALISTS
    assert made.rungs[-1].epochs == epochs
    for before, after in zip(made.rungs, made.rungs[1:], strict=False):
        assert after.candidates == survivors(before.candidates) < before.candidates
        assert before.epochs <= after.epochs


@given(prices, st.integers(9, 60), st.integers(2, 6))
def test_no_wider_plan_would_fit(costs, epochs, seeds):
    whole = plan(costs, epochs, 1e9, seeds)
    assert whole.candidates == len(costs)
    assert plan(costs, epochs, whole.cost, seeds) == whole
    assume(len(costs) > 1)
    try:
        made = plan(costs, epochs, whole.cost - 1e-6, seeds)
    except ValueError:
        return
    assert made.candidates < len(costs)


def test_impossible_plans_are_refused():
    with pytest.raises(ValueError, match="one candidate or more"):
        plan([], 10, 100.0, 5)
    with pytest.raises(ValueError, match="one training each"):
        plan([2.0], 10, 100.0, 1)
    with pytest.raises(ValueError, match="must be 15 or more"):
        plan([2.0, 2.0], 10, 14.0, 5)


def test_the_best_third_goes_on_rounded_up_and_two_at_least():
    assert [survivors(count) for count in (3, 6, 7, 9, 10, 30)] == [2, 2, 3, 3, 4, 10]
