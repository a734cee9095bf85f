"""Bootstrap intervals, against the plain figures of the resamples, and two ways to draw them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from keras_lodin import metrics
from keras_lodin.metrics import bootstrap
from keras_lodin.metrics.sorted_scores import sorted_alike
from tests.metrics.test_figures import random_scores, tied_scores


@given(tied_scores, tied_scores, st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_bootstrap_intervals_equal_the_plain_figures_on_the_resamples(id_scores, ood_scores, seed):
    random = np.random.default_rng(seed)
    figures = []
    for _ in range(20):
        id_drawn = id_scores[random.integers(id_scores.size, size=id_scores.size)]
        ood_drawn = ood_scores[random.integers(ood_scores.size, size=ood_scores.size)]
        figures.append(
            (metrics.auroc(id_drawn, ood_drawn), metrics.fpr_at_tpr(id_drawn, ood_drawn))
        )
    expected = np.quantile(figures, [0.05, 0.95], axis=0).T
    intervals = metrics.bootstrap_intervals(
        id_scores, ood_scores, resamples=20, seed=seed, confidence=0.9
    )
    np.testing.assert_allclose([intervals["auroc"], intervals["fpr95"]], expected, atol=1e-12)


def test_bootstrap_intervals_repeat_with_the_seed():
    scores = random_scores()
    first = metrics.bootstrap_intervals(*scores, resamples=50, seed=3)
    assert first == metrics.bootstrap_intervals(*scores, resamples=50, seed=3)
    assert first != metrics.bootstrap_intervals(*scores, resamples=50, seed=4)


def test_bootstrap_interval_covers_the_true_auroc_about_as_often_as_it_says():
    # Two normals one standard deviation apart: AUROC = Phi(1 / sqrt(2)) = 0.7602.
    covered = 0
    for seed in range(100):
        scores = random_scores(n=100, m=100, decimals=9, seed=seed)
        low, high = metrics.bootstrap_intervals(*scores, resamples=200, seed=seed)["auroc"]
        covered += low <= 0.7602 <= high
    # 95 expected; fewer than 87 has a probability below one in a thousand.
    assert covered >= 87


def test_bootstrap_interval_narrows_with_more_data():
    widths = []
    for n in (100, 10_000):
        low, high = metrics.bootstrap_intervals(*random_scores(n, n), resamples=200)["fpr95"]
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_bootstrap_refuses_no_resamples_and_a_senseless_confidence():
    with pytest.raises(ValueError, match=r"`resamples` must be at least 1. Received: resamples=0"):
        metrics.bootstrap_intervals([1.0], [0.0], resamples=0)
    with pytest.raises(ValueError, match=r"`confidence` must be .* Received: confidence=95"):
        metrics.bootstrap_intervals([1.0], [0.0], confidence=95)


# More groups than there are scores, and far fewer; the distribution of a figure among 4,000
# resamples is known to about 0.03.
@pytest.mark.parametrize("groups", [2048, 64])
@pytest.mark.parametrize("decimals", [1, 9])
def test_resamples_that_are_counted_have_the_distribution_of_those_that_are_drawn(
    monkeypatch, groups, decimals
):
    monkeypatch.setattr(bootstrap, "_GROUPS", groups)
    scores = sorted_alike(*random_scores(n=700, m=90, decimals=decimals))
    one_by_one, counted = (
        draw(*scores, 4000, np.random.default_rng(seed))
        for seed, draw in enumerate((bootstrap._drawn_one_by_one, bootstrap._drawn_as_counts))
    )
    for drawn, as_counts in zip(one_by_one.T, counted.T, strict=True):
        assert ks_2samp(drawn, as_counts).pvalue > 1e-4
        assert np.std(as_counts) == pytest.approx(np.std(drawn), rel=0.06)
        np.testing.assert_allclose(
            np.quantile(as_counts, [0.025, 0.975]),
            np.quantile(drawn, [0.025, 0.975]),
            atol=0.25 * np.std(drawn),
        )


def test_beyond_some_number_of_scores_resamples_are_counted(monkeypatch):
    scores = random_scores(n=3000, m=2000, decimals=9)
    drawn = metrics.bootstrap_intervals(*scores, resamples=400)
    monkeypatch.setattr(bootstrap, "_MOST_DRAWN", 4999)
    counted = metrics.bootstrap_intervals(*scores, resamples=400)
    assert counted == metrics.bootstrap_intervals(*scores, resamples=400)
    for name, (low, high) in drawn.items():
        assert counted[name] != (low, high)
        np.testing.assert_allclose(counted[name], (low, high), atol=0.2 * (high - low))


def test_separated_and_equal_scores_have_intervals_without_a_width(monkeypatch):
    monkeypatch.setattr(bootstrap, "_MOST_DRAWN", 0)
    kept = metrics.bootstrap_intervals(np.arange(5.0) + 9, np.arange(4.0), resamples=20)
    assert kept == {"auroc": (1.0, 1.0), "fpr95": (0.0, 0.0)}
    same = metrics.bootstrap_intervals(np.ones(3), np.ones(2), resamples=20)
    assert same == {"auroc": (0.5, 0.5), "fpr95": (1.0, 1.0)}
