"""Scores that were counted answer as the scores themselves do."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lodin import metrics
from keras_lodin.metrics import ScoreHistogram
from keras_lodin.metrics.ordered_bits import numbers_of, ordered_bits
from keras_lodin.metrics.p_values import MOST_IN_ONE, TABLE_ERROR, calibration_table

any_scores = st.lists(
    st.one_of(
        st.floats(width=32, allow_nan=False),
        st.integers(-3, 3).map(float),
        st.sampled_from([0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38]),
    ),
    max_size=40,
).map(lambda scores: np.array(scores, "float32"))
finite_scores = any_scores.map(lambda scores: scores[np.isfinite(scores)])
some_scores = finite_scores.filter(lambda scores: scores.size > 0)
rates = st.sampled_from([0.001, 0.07, 0.3, 0.5, 0.9, 0.95, 0.99])


def counted(*parts, cells=65_536):
    histogram = ScoreHistogram(cells)
    for scores in parts:
        histogram.update(scores)
    return histogram


def state(histogram):
    cells = histogram._counted()
    return [one.tolist() for one in cells]


def many(seed, count=6000):
    """So many different scores that 512 cells cannot tell them apart."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=count) * 10.0 ** rng.integers(-3, 3)).astype("float32")


def both_passes(scores, tpr=None, cells=512, confidence=None):
    finer = counted(scores, cells=cells).finer(tpr, confidence)
    finer.update(scores)
    return finer


def test_bits_have_the_order_of_the_numbers():
    numbers = np.sort(np.concatenate([many(0), [np.inf, -np.inf, 0.0, 1e-45, -1e-45]]))
    numbers = np.unique(numbers.astype("float32"))
    bits = ordered_bits(numbers)
    assert (np.diff(bits.astype("int64")) > 0).all()
    np.testing.assert_array_equal(numbers_of(bits), numbers)
    assert ordered_bits([-0.0]) == ordered_bits([0.0])


@given(any_scores, any_scores, any_scores)
@settings(max_examples=25, deadline=None)
def test_merging_is_counting_all_in_whatever_order(first, second, third):
    # With many beside them cells are wider than a number.
    parts = [
        np.concatenate([one, more])
        for one, more in zip(
            (first, second, third), (many(1, 300), many(2, 1000), many(3, 10)), strict=True
        )
    ]
    whole = state(counted(*parts, cells=512))
    for a, b, c in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        left, right = counted(parts[a], cells=512), counted(parts[b], cells=512)
        left.merge(right)
        left.merge(counted(parts[c], cells=512))
        right.merge(counted(parts[c], cells=512))
        other = counted(parts[a], cells=512)
        other.merge(right)
        assert state(left) == state(other) == whole
    assert state(counted(np.concatenate(parts), cells=512)) == whole


@given(any_scores, any_scores, any_scores)
@settings(max_examples=20, deadline=None)
def test_merging_another_pass_is_counting_all_in_whatever_order(first, second, third):
    parts = [
        np.concatenate([one, many(place, 400)]) for place, one in enumerate((first, second, third))
    ]
    empty = counted(*parts, cells=512).finer(tpr=0.5)
    whole = copy.deepcopy(empty)
    for scores in parts:
        whole.update(scores)
    for order in ((0, 1, 2), (2, 1, 0)):
        merged = copy.deepcopy(empty)
        for place in order:
            one = pickle.loads(pickle.dumps(empty))
            one.update(parts[place])
            merged.merge(one)
        assert state(merged) == state(whole)


@given(some_scores, some_scores, rates)
@settings(max_examples=60, deadline=None)
def test_of_few_scores_everything_is_exact(id_scores, ood_scores, tpr):
    known, others = counted(id_scores), counted(ood_scores)
    assert known.count == id_scores.size
    assert known.fullest == known.infinite == 0
    area = metrics.auroc(id_scores, ood_scores)
    assert known.auroc(others) == (area, area)
    rate = metrics.fpr_at_tpr(id_scores, ood_scores, tpr)
    assert known.fpr_at_tpr(others, tpr) == (rate, rate)
    assert known.threshold_at_tpr(tpr) == metrics.threshold_at_tpr(id_scores, tpr)
    assert known.threshold_at_tpr(tpr, 0.9) == metrics.threshold_at_confidence(id_scores, tpr, 0.9)
    for mine, its in zip(known.calibration_table(), calibration_table(id_scores), strict=True):
        np.testing.assert_array_equal(mine, its)
    below = (id_scores[:, None] <= ood_scores).sum(axis=0)
    np.testing.assert_array_equal(known.p_values(ood_scores), (1 + below) / (1 + id_scores.size))
    for k in {1, id_scores.size}:
        assert known.kth_largest(k) == (np.sort(id_scores)[-k],) * 2


def test_infinite_scores_and_signed_zeros_have_their_places():
    known = counted(np.array([-np.inf, -0.0, 0.0, np.inf, np.inf]))
    others = counted(np.array([0.0, np.inf]))
    assert known.infinite == 3
    assert known.kth_largest(2) == (np.inf, np.inf)
    pairs = [(a > b) + 0.5 * (a == b) for a in (-np.inf, 0, 0, np.inf, np.inf) for b in (0, np.inf)]
    assert known.auroc(others) == (np.mean(pairs),) * 2
    np.testing.assert_array_equal(known.p_values([-np.inf, -0.0, np.inf]), [2 / 6, 4 / 6, 1.0])
    with pytest.raises(ValueError, match="3 infinite scores"):
        known.threshold_at_tpr(0.5)


@pytest.mark.parametrize("seed", range(4))
def test_of_many_scores_answers_are_bounds(seed):
    id_scores = many(seed)
    ood_scores = many(seed + 10) * np.float32(id_scores.std() / many(seed + 10).std() / 2)
    exact_area = metrics.auroc(id_scores, ood_scores)
    widths = []
    for known, others in (
        (counted(id_scores, cells=512), counted(ood_scores, cells=512)),
        (both_passes(id_scores), both_passes(ood_scores)),
    ):
        low, high = known.auroc(others)
        assert low <= exact_area <= high
        widths.append(high - low)
        low, high = known.fpr_at_tpr(others)
        assert low <= metrics.fpr_at_tpr(id_scores, ood_scores) <= high
        lowest, highest = known.kth_largest(700)
        assert lowest <= np.sort(id_scores)[-700] <= highest
        below = np.searchsorted(np.sort(id_scores), ood_scores, "right")
        above = known.p_values(ood_scores) - (1 + below) / (1 + id_scores.size)
        assert 0.0 <= above.min() <= above.max() <= known.fullest
        promised = known.threshold_at_tpr(0.9)
        assert (id_scores > promised).sum() >= np.ceil(0.9 * (id_scores.size + 1))
    assert widths[1] < widths[0] / 1.5 < 0.01


@pytest.mark.parametrize("tpr", [0.1, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("confidence", [None, 0.9])
def test_another_pass_makes_the_threshold_exact(tpr, confidence):
    for seed in range(5):
        scores = many(seed, 20_000)
        finer = both_passes(scores, tpr, 65_536 >> 3, confidence)
        expected = (
            metrics.threshold_at_tpr(scores, tpr)
            if confidence is None
            else metrics.threshold_at_confidence(scores, tpr, confidence)
        )
        assert (scores > finer.threshold_at_tpr(tpr, confidence)).sum() == (scores > expected).sum()


def test_passes_can_go_on_until_every_score_has_a_cell():
    scores = many(5, 2000)
    histogram = counted(scores, cells=512)
    for _ in range(25):
        finer = histogram.finer()
        finer.update(scores)
        assert finer.fullest <= histogram.fullest
        histogram = finer
    assert histogram.fullest <= 1 / 2000


def test_a_table_of_intervals_is_as_close_as_that_of_the_scores():
    scores = np.random.default_rng(0).normal(size=300_000).astype("float32")
    finer = both_passes(scores, 0.95, cells=65_536)
    assert finer.fullest < MOST_IN_ONE
    kept, counts = finer.calibration_table()
    fresh = np.random.default_rng(1).normal(size=100_000).astype("float32")
    below = np.searchsorted(np.sort(scores), fresh, "right")
    above = counts[np.searchsorted(kept, fresh, "right")] / counts[-1] - (1 + below) / (
        1 + scores.size
    )
    assert -1e-7 < above.min() <= above.max() < TABLE_ERROR


def test_it_keeps_little_whatever_it_counts():
    histogram = ScoreHistogram()
    rng = np.random.default_rng(0)
    for _ in range(3):
        # Numbers of every size, the most that there can be.
        bits = rng.integers(0x00800000, 0xFF7FFFFF, 200_000).astype("uint32")
        histogram.update(numbers_of(bits))
    assert len(pickle.dumps(histogram)) < 800_000
    assert histogram.count == 600_000
    finer = histogram.finer(0.95)
    assert finer._counts.size <= 65_536
    histogram = counted(np.zeros(0))
    histogram.merge(counted(np.zeros(0)))
    assert histogram.count == 0


def test_a_finer_pass_over_other_scores_is_noticed():
    scores = many(0)
    finer = counted(scores, cells=512).finer(0.95)
    with pytest.raises(ValueError, match="Received: 0 scores"):
        finer.threshold_at_tpr(0.95)
    finer.update(scores[::-1])
    assert finer.count == 6000
    twice = copy.deepcopy(finer)
    twice.merge(finer)
    with pytest.raises(ValueError, match="each once: 6,000 scores"):
        twice.threshold_at_tpr(0.95)
    # Where no cell is divided, too.
    with pytest.raises(ValueError, match="Received: 0 scores"):
        counted([1.0, 2.0]).finer().kth_largest(1)
    other = counted(scores, cells=512).finer(0.95)
    other.update(scores + np.float32(1.0))
    with pytest.raises(ValueError, match="the same scores"):
        other.p_values([0.0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([1.0, np.nan], r"1 NaN, the first of them scores\[1\]"),
        ([[1.0]], "one axis"),
        (["1"], "array of numbers"),
        (3.0, "one axis"),
        ([True], "array of numbers"),
    ],
)
def test_what_is_no_score_is_refused_and_nothing_counted(wrong, message):
    histogram = counted([0.5])
    with pytest.raises(ValueError, match=message):
        histogram.update(wrong)
    assert histogram.count == 1


def test_what_cannot_be_answered_or_merged_is_said():
    empty = ScoreHistogram()
    for ask in (
        lambda: empty.threshold_at_tpr(0.95),
        lambda: empty.auroc(counted([1.0])),
        lambda: counted([1.0]).auroc(empty),
        empty.finer,
    ):
        with pytest.raises(ValueError, match="no scores: `update` it first"):
            ask()
    for cells in (511, 0, 65_537, 1.5):
        with pytest.raises(ValueError, match="`cells` must be"):
            ScoreHistogram(cells)
    for other in (ScoreHistogram(512), counted([1.0]).finer()):
        with pytest.raises(ValueError, match="as many cells"):
            empty.merge(other)
    with pytest.raises(ValueError, match="Received: list"):
        empty.merge([1.0])
    with pytest.raises(ValueError, match="`k` must be"):
        counted([1.0]).kth_largest(2)
    with pytest.raises(ValueError, match="`tpr` must be"):
        counted([1.0]).finer(1.5)
