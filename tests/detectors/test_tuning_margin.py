"""How sure a difference of two AUROCs on the same samples is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from keras_lodin import metrics
from keras_lodin.detectors.tuning_margin import (
    Placements,
    TuningMargin,
    auroc_margin,
    mean_placements,
    placements,
)

tied_scores = st.lists(st.integers(-5, 5), min_size=1, max_size=40).map(np.float64)


@given(tied_scores, tied_scores)
def test_placements_have_the_auroc_for_their_mean_on_either_side(id_scores, contrast_scores):
    found = placements(id_scores, contrast_scores)
    expected = metrics.auroc(id_scores, contrast_scores)
    assert found.auroc == pytest.approx(expected, abs=1e-12)
    assert found.id.mean() == pytest.approx(expected, abs=1e-12)
    assert found.contrast.mean() == pytest.approx(expected, abs=1e-12)


@given(tied_scores, tied_scores, st.integers(0, 2**32 - 1), st.sampled_from([1e-4, 1.0, 1e4]))
def test_rounding_of_scores_decides_nothing(id_scores, contrast_scores, seed, unit):
    random = np.random.default_rng(seed)
    exact = placements(id_scores, contrast_scores).auroc
    rounded = [
        unit * (scores + random.uniform(-1e-7, 1e-7, scores.size) * np.abs(scores).max())
        for scores in (id_scores, contrast_scores)
    ]
    assert placements(*rounded).auroc == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("better", [0.0, 0.7])
def test_interval_holds_the_true_margin_about_as_often_as_it_says(paired, better):
    """Two scores of the same 60 + 60 samples, told apart by `better`."""
    random = np.random.default_rng(0)

    def sample(count):
        own = random.normal(size=(3, count))
        # Where the contrast is made of the data, what is odd about one is odd about the other.
        theirs = (0.5 * own + random.normal(size=(3, count))) if paired else own[::, ::-1]
        one, other = own[0] + 1.0 + better, own[0] + own[1] + 1.0
        return (one, theirs[0]), (other, theirs[0] + theirs[2])

    many = [placements(*scores) for scores in sample(100_000)]
    truth = many[0].auroc - many[1].auroc
    held, runs = 0, 300
    for _ in range(runs):
        margin, (low, high) = auroc_margin(
            *(placements(*scores) for scores in sample(60)), paired=paired
        )
        assert low <= margin <= high
        held += low <= truth <= high
    assert 0.90 <= held / runs <= 0.99


@pytest.mark.parametrize("paired", [True, False])
def test_interval_is_that_of_a_bootstrap_over_the_same_samples(paired, rng):
    ours, theirs = rng.normal(1.0, 1.0, 150), rng.normal(0.0, 1.0, 150)
    own_noise, their_noise = rng.normal(size=150), rng.normal(size=150)
    if paired:  # what moves one of a pair moves the other
        their_noise = own_noise + 0.2 * their_noise
    _, (low, high) = auroc_margin(
        placements(ours, theirs), placements(ours + own_noise, theirs + their_noise), paired=paired
    )
    drawn = []
    for _ in range(1000):
        i, j = rng.integers(150, size=(2, 150))
        j = i if paired else j
        drawn.append(
            placements(ours[i], theirs[j]).auroc
            - placements(ours[i] + own_noise[i], theirs[j] + their_noise[j]).auroc
        )
    expected = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose([low, high], expected, atol=0.15 * (high - low))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_samples_have_wide_intervals_within_what_is_possible(count):
    one, other = placements(np.arange(count), [0.5]), placements(-np.arange(count), [0.5])
    for paired in (False, True) if count == 1 else (False,):
        assert auroc_margin(one, other, paired=paired)[1] == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("interval", "apart"),
    [
        ((0.001, 0.02), True),
        ((-0.02, -0.001), True),
        ((-0.001, 0.02), False),
        ((0.0, 0.0), False),
        ((0.0, 0.1), False),
        ((-0.1, 0.0), False),
        ((-1.0, 1.0), False),
        ((0.02, 0.02), True),
    ],
)
def test_settings_are_told_apart_where_zero_lies_outside_the_interval(interval, apart):
    assert TuningMargin({}, 0.9, np.mean(interval), interval).told_apart is apart


def test_what_a_pair_has_in_common_is_no_uncertainty():
    """Where each pair takes from one score what it gives to the other, the margin is exact."""
    gains = np.array([0.125, -0.125, 0.25, -0.25, 0.0])
    other = Placements(np.full(5, 0.5), np.full(5, 0.5), 0.5)
    one = Placements(other.id + gains, other.contrast - gains, 0.5)
    assert auroc_margin(one, other, paired=True) == (0.0, (0.0, 0.0))
    _, (low, high) = auroc_margin(one, other, paired=False)
    assert low < -0.1 < 0.1 < high


def test_interval_is_students_of_the_differences_by_sample(rng):
    one, other = (Placements(rng.uniform(size=5), rng.uniform(size=5), 0.5) for _ in range(2))
    _, (low, high) = auroc_margin(one, other, paired=True)
    both = (one.id + one.contrast) - (other.id + other.contrast)
    expected = stats.ttest_1samp(both, 0.0).confidence_interval(0.95)
    assert high - low == pytest.approx(expected.high - expected.low)


def test_several_kinds_count_the_same():
    found = mean_placements(
        [
            Placements(np.array([0.0, 1.0]), np.array([1.0, 0.0]), 0.5),
            Placements(np.array([1.0, 1.0]), np.array([1.0, 1.0]), 1.0),
        ]
    )
    np.testing.assert_array_equal(found.id, [0.5, 1.0])
    np.testing.assert_array_equal(found.contrast, [1.0, 0.5])
    assert found.auroc == 0.75
