"""The figures of merit, against hand-computed cases, scikit-learn and properties."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import beta, norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from keras_lodin import metrics

TINY = float(np.finfo(np.float32).tiny)

# Few distinct values, so that ties within and between the two classes are the rule.
tied_scores = st.lists(st.integers(-5, 5), min_size=1, max_size=40).map(np.float64)
float32_scores = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
    min_size=1,
    max_size=40,
).map(np.float32)
tprs = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)


def random_scores(n=200, m=150, decimals=1, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(1.0, 1.0, n).round(decimals), random.normal(0.0, 1.0, m).round(decimals)


def test_auroc_counts_a_tie_as_half_a_pair():
    # Pairs (3,2) (3,1) (2,1) in order, (2,2) tied: 3.5 of 4.
    assert metrics.auroc([3, 2], [2, 1]) == 0.875
    assert metrics.auroc([2, 1], [3, 2]) == 0.125


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0, width=32), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_calibration_error_is_the_weighted_gap_of_every_bin(predictions, bins):
    confidence, correct = (np.array(column) for column in zip(*predictions, strict=True))
    expected = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = (confidence > low) & (confidence <= high) | (confidence == 0.0) & (number == 0)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean(dtype="float64"))
            expected += inside.mean() * gap
    assert metrics.calibration_error(confidence, correct, bins) == pytest.approx(expected, abs=1e-9)


def test_the_upper_end_of_a_bin_belongs_to_it():
    # 0.5 and 0.75 in one bin would make up for each other.
    assert metrics.calibration_error([0.5, 0.75], [1, 0], bins=2) == pytest.approx(0.625)


def test_calibration_error_of_honest_confidence_is_small_and_of_boasting_large(rng):
    confidence = rng.uniform(0.5, 1.0, 20_000)
    correct = rng.uniform(size=20_000) < confidence
    assert metrics.calibration_error(confidence, correct) < 0.01
    assert metrics.calibration_error(np.ones(20_000), correct) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("confidence", "correct"), [([0.5, 1.5], [1, 1]), ([0.5], [1, 0]), ([0.5], [2]), ([], [])]
)
def test_unusable_predictions_have_no_calibration_error(confidence, correct):
    with pytest.raises(ValueError, match="Received"):
        metrics.calibration_error(confidence, correct)


@pytest.mark.parametrize("bins", [0, 2.5, "3", True])
def test_bins_are_a_whole_number(bins):
    with pytest.raises(ValueError, match=r"`bins` must be at least 1. Received: bins="):
        metrics.calibration_error([0.9, 0.6], [True, False], bins)


def test_fpr_with_id_positive_by_hand():
    id_scores, ood_scores = [4, 3, 2, 1], [3, 2, 2, 0]
    # 3 of 4 ID must be kept: the scores from 2 up. They keep 3, 2 and 2 of OOD.
    assert metrics.fpr_at_tpr(id_scores, ood_scores, tpr=0.75) == 0.75
    # One more than the half is 3 of 4 again; exactly the half keeps from 3 up.
    assert metrics.fpr_at_tpr(id_scores, ood_scores, tpr=0.51) == 0.75
    assert metrics.fpr_at_tpr(id_scores, ood_scores, tpr=0.5) == 0.25
    # 95 % of four samples are all four.
    assert metrics.fpr_at_tpr(id_scores, ood_scores) == 0.75


def test_fpr_with_ood_positive_by_hand():
    id_scores, ood_scores = [4, 3, 2, 1], [3, 2, 2, 0]
    # 3 of 4 OOD must be flagged: the scores up to 2. They flag 2 and 1 of ID.
    assert metrics.fpr_at_tpr(id_scores, ood_scores, tpr=0.75, positive="ood") == 0.5
    assert metrics.fpr_at_tpr(id_scores, ood_scores, tpr=0.25, positive="ood") == 0.0
    assert metrics.fpr_at_tpr(id_scores, ood_scores, positive="ood") == 0.75


def test_the_two_orientations_of_fpr95_differ():
    id_scores = [10.0] * 90 + [0.0] * 10
    ood_scores = [5.0] * 96 + [-5.0] * 4
    assert metrics.fpr_at_tpr(id_scores, ood_scores, positive="id") == 0.96
    assert metrics.fpr_at_tpr(id_scores, ood_scores, positive="ood") == 0.1


def test_fpr_is_not_interpolated():
    # Between "keep 0 of OOD at TPR 0.5" and "keep all at TPR 1" there is no threshold.
    assert metrics.fpr_at_tpr([3, 1], [2], tpr=0.75) == 1.0
    assert metrics.fpr_at_tpr([3, 1, 1, 1], [1], tpr=0.25) == 0.0


def test_aupr_by_hand():
    # ID positive, from the top: 3 (ID), 2 (OOD), 1 (ID). Precision 1 at recall 1/2, 2/3 at 1.
    assert metrics.aupr([3, 1], [2]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # OOD positive, from the bottom: 1 (ID), 2 (OOD). Precision 1/2 at recall 1.
    assert metrics.aupr([3, 1], [2], positive="ood") == pytest.approx(0.5)


def test_detection_error_by_hand():
    # Threshold between 2 and 3: one of four ID lost, one of four OOD kept.
    assert metrics.detection_error([4, 3, 3, 1], [3, 2, 2, 0]) == pytest.approx(0.25)
    assert metrics.detection_error([2, 3], [0, 1]) == 0.0
    assert metrics.detection_error([0, 1], [2, 3]) == 0.5


def test_all_scores_tied_is_chance():
    same = np.full(7, 0.25, np.float32)
    assert metrics.auroc(same, same) == 0.5
    assert metrics.fpr_at_tpr(same, same) == 1.0
    assert metrics.fpr_at_tpr(same, same, positive="ood") == 1.0
    assert metrics.aupr(same, same) == 0.5
    assert metrics.detection_error(same, same) == 0.5
    assert metrics.bootstrap_intervals(same, same, resamples=10) == {
        "auroc": (0.5, 0.5),
        "fpr95": (1.0, 1.0),
    }


@given(tied_scores, tied_scores, st.sampled_from([0.05, 0.3, 0.5, 0.9, 0.95]))
@settings(deadline=None)
def test_figures_equal_scikit_learn_under_ties(id_scores, ood_scores, tpr):
    is_id = np.r_[np.ones(len(id_scores)), np.zeros(len(ood_scores))]
    scores = np.r_[id_scores, ood_scores]
    for positive, labels, sign in (("id", is_id, 1.0), ("ood", 1.0 - is_id, -1.0)):
        fprs, recalls, _ = roc_curve(labels, sign * scores, drop_intermediate=False)
        # The strictest threshold that reaches the rate: the curve rises from left to right.
        first = np.argmax(recalls >= tpr)
        fpr = metrics.fpr_at_tpr(id_scores, ood_scores, tpr=tpr, positive=positive)
        assert fpr == pytest.approx(fprs[first], abs=1e-12)
        aupr = metrics.aupr(id_scores, ood_scores, positive=positive)
        assert aupr == pytest.approx(average_precision_score(labels, sign * scores))
    assert metrics.auroc(id_scores, ood_scores) == pytest.approx(roc_auc_score(is_id, scores))


@given(tied_scores, tied_scores)
@settings(deadline=None)
def test_detection_error_is_the_best_of_all_thresholds(id_scores, ood_scores):
    thresholds = np.r_[-np.inf, id_scores, ood_scores]
    errors = [(np.mean(id_scores <= t) + np.mean(ood_scores > t)) / 2 for t in thresholds]
    assert metrics.detection_error(id_scores, ood_scores) == pytest.approx(min(errors))


@given(tied_scores, tied_scores, tprs)
@settings(deadline=None)
def test_monotone_transform_of_the_scores_changes_nothing(id_scores, ood_scores, tpr):
    def transform(scores):
        return np.exp(scores / 3.0) - 7.0

    for figure in (metrics.auroc, metrics.aupr, metrics.detection_error):
        assert figure(transform(id_scores), transform(ood_scores)) == figure(id_scores, ood_scores)
    for positive in ("id", "ood"):
        assert metrics.fpr_at_tpr(
            transform(id_scores), transform(ood_scores), tpr, positive
        ) == metrics.fpr_at_tpr(id_scores, ood_scores, tpr, positive)


@given(tied_scores, tied_scores, tprs)
@settings(deadline=None)
def test_swapping_the_classes_and_negating_the_scores_swaps_the_orientations(a, b, tpr):
    assert metrics.auroc(a, b) == pytest.approx(metrics.auroc(-b, -a))
    assert metrics.detection_error(a, b) == pytest.approx(metrics.detection_error(-b, -a))
    assert metrics.fpr_at_tpr(a, b, tpr, "id") == metrics.fpr_at_tpr(-b, -a, tpr, "ood")
    assert metrics.aupr(a, b, "id") == pytest.approx(metrics.aupr(-b, -a, "ood"))


def test_float32_and_lists_give_the_same_figures_as_float64():
    id_scores, ood_scores = random_scores(decimals=6)
    id_single, ood_single = id_scores.astype(np.float32), ood_scores.astype(np.float32)
    expected = metrics.auroc(id_single.astype(np.float64), ood_single.astype(np.float64))
    assert metrics.auroc(id_single, ood_single) == expected
    assert metrics.auroc(id_single.tolist(), ood_single.tolist()) == expected


def test_scores_of_two_types_are_compared_as_float64():
    """0.7 in float32 lies below 0.7 in float64."""
    double, single = np.array([0.7]), np.array([0.7], np.float32)
    assert metrics.auroc(double, single) == 1.0
    assert metrics.fpr_at_tpr(double, single) == 0.0
    assert metrics.fpr_at_tpr(single, double) == 1.0
    assert metrics.fpr_at_tpr(double, single, positive="ood") == 0.0
    assert metrics.fpr_at_tpr(single, double, positive="ood") == 1.0


# --- The threshold and its promise -----------------------------------------------------------

# As a person writes them, and those that floating point rounds the wrong way.
rates = st.one_of(
    st.integers(1, 999).map(lambda thousandths: thousandths / 1000),
    st.sampled_from([0.95, 0.9, 0.99, 0.07, 0.28, 0.55, 0.57, 0.58]),
    tprs,
)


def rank(n, tpr):
    return math.ceil(Fraction(str(tpr)) * (n + 1))


@given(
    st.one_of(
        st.lists(st.integers(-3, 3), min_size=2, max_size=40).map(np.float32),
        st.lists(st.integers(-9, 9), min_size=2, max_size=40).map(lambda x: np.float32(x) * 1e-7),
        float32_scores.filter(lambda scores: scores.size > 1),
    ),
    rates,
)
def test_promise_holds_exactly_over_every_sample_left_out(scores, tpr):
    """Of n + 1 exchangeable scores each is as likely the fresh one: an average without chance."""
    passed = sum(
        bool(score > metrics.threshold_at_tpr(np.delete(scores, place), tpr))
        for place, score in enumerate(scores)
    )
    assert Fraction(passed, scores.size) >= Fraction(str(tpr))


@given(float32_scores, rates)
def test_threshold_lies_below_the_rank_and_is_a_float32(scores, tpr):
    threshold, k = metrics.threshold_at_tpr(scores, tpr), rank(scores.size, tpr)
    assert (threshold == -np.inf) or k <= scores.size
    assert np.float32(threshold) == threshold
    assert threshold == 0.0 or abs(threshold) >= TINY
    assert (scores > threshold).sum() >= min(k, scores.size)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), rates)
def test_threshold_lets_no_more_pass_than_the_rank_and_its_ties(scores, tpr):
    scores, k = np.sort(np.float32(scores))[::-1], rank(len(scores), tpr)
    assume(k <= scores.size)
    np.testing.assert_array_equal(
        scores > metrics.threshold_at_tpr(scores, tpr), scores >= scores[k - 1]
    )


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize("offset", [0.0, 3.0, -3.0, 100.0])
def test_rounding_of_another_runtime_moves_no_score_across_the_threshold(unit, offset, rng):
    # Two decimals and every score several times, each time rounded differently.
    exact = np.repeat(rng.normal(size=40).round(2) + offset, 5) * unit
    for tpr in (0.3, 0.5, 0.9, 0.95, 0.99):
        size = np.abs(exact).mean()
        noisy = [np.float32(exact + rng.normal(0, 3e-7, exact.size) * size) for _ in range(4)]
        threshold = metrics.threshold_at_tpr(noisy[0], tpr)
        for scores in noisy:
            np.testing.assert_array_equal(scores > threshold, noisy[0] > threshold)
            np.testing.assert_array_equal(scores > threshold, exact > threshold)


@given(st.lists(st.floats(-1e60, 1e60), min_size=1, max_size=20), rates)
def test_threshold_of_float64_scores_is_a_float32_that_keeps_the_rank(scores, tpr):
    threshold, k = metrics.threshold_at_tpr(scores, tpr), rank(len(scores), tpr)
    assert np.float32(threshold) == threshold
    flushed = np.array([0.0 if abs(score) < TINY else score for score in scores])
    assert (flushed > threshold).sum() >= min(k, len(scores))


def test_threshold_counts_the_decimal_fraction_that_was_asked_for():
    scores = np.arange(99, dtype=np.float32)
    for percent in range(1, 100):
        # 0.07 * 100 is 7.000000000000001 in floating point, and must not become 8.
        for kind in (float, np.float32, np.float64, lambda value: Fraction(str(value))):
            tpr = kind(percent / 100)
            assert (scores > metrics.threshold_at_tpr(scores, tpr)).sum() == percent
    assert (scores[:19] > metrics.threshold_at_tpr(scores[:19], 0.95)).sum() == 19


@pytest.mark.parametrize(
    ("scores", "tpr", "threshold"),
    [
        ([0.0, 1.0, 2.0, 3.0], 0.6, 0.5),
        ([0.0, 1.0, 2.0, 3.0], 0.2, 2.5),
        ([3.0, 0.0, 2.0, 1.0], 0.4, 1.5),
        ([0.0, 1.0, 1.0, 1.0], 0.4, 0.5),
        ([-8.0, -4.0, -2.0, -1.0], 0.4, -3.0),
        # Apart by rounding alone: they count as one, and the next gap is taken.
        ([0.0, 1.0, 1.0 + 1e-7, 2.0], 0.4, 0.5),
        ([0.0, 1e-7, 1.0, 2.0], 0.6, -0.05),
        # Nothing is lower: a tenth of the way from the median.
        (list(range(19)), 0.95, -0.9),
        ([1.0, 3.0, 5.0], 0.7, 0.8),
        # Nothing else is there: a part of the scores' own size.
        ([5.0] * 19, 0.95, 4.99995),
        ([-5.0] * 19, 0.95, -5.00005),
        ([0.0] * 19, 0.95, -1e-5),
        ([1e-40, 0.0, -1e-40], 0.5, -1e-5),
        ([1.0, 1.0 + 1e-7, 1.0 + 2e-7], 0.3, 1.0 - 1e-5),
    ],
)
def test_threshold_stands_between_two_scores(scores, tpr, threshold):
    assert metrics.threshold_at_tpr(scores, tpr) == pytest.approx(threshold, rel=1e-6)


def test_threshold_goes_a_little_way_for_a_gap_and_no_further():
    dense = np.linspace(0.0, 1.0, 1_000_001)  # steps of a tenth of what counts as rounding
    threshold = metrics.threshold_at_tpr(dense, 0.5)
    assert 0.499 < threshold < 0.5
    dense[450_000:499_900] = 0.4
    assert 0.44 < metrics.threshold_at_tpr(dense, 0.5) < 0.4998


@pytest.mark.parametrize(
    ("tpr", "least"),
    [
        (0.95, 19),
        (0.9, 9),
        (0.99, 99),
        (0.999, 999),
        (0.5, 1),
        (0.75, 3),
        (0.8, 4),
        (0.01, 1),
        (np.float32(0.95), 19),
        (0.96, 24),
    ],
)
def test_fewer_samples_than_can_show_a_rate_let_everything_pass(tpr, least):
    assert metrics.fewest_samples(tpr) == least
    scores = np.arange(float(least))
    assert -np.inf < metrics.threshold_at_tpr(scores, tpr)
    for count in {1, least // 2, least - 1} - {0, least}:
        assert metrics.threshold_at_tpr(scores[:count], tpr) == -np.inf


@pytest.mark.parametrize("tpr", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.1, 0.5, 0.9, 0.99])
def test_a_threshold_with_a_confidence_stands_at_the_smallest_rank_that_has_it(tpr, confidence):
    least = metrics.fewest_samples(tpr, confidence)
    assert least >= metrics.fewest_samples(tpr)
    for n in (least, 2 * least, 10 * least + 7):
        scores = np.arange(float(n))
        passed = int((scores > metrics.threshold_at_confidence(scores, tpr, confidence)).sum())
        on_average = math.ceil(Fraction(str(tpr)) * (n + 1))
        # Of k of n that pass, the share of the population that does is Beta(k, n + 1 - k).
        assert beta.sf(tpr, passed, n + 1 - passed) >= confidence - 1e-12
        assert passed >= on_average
        fewer = passed - 1
        assert fewer < on_average or beta.sf(tpr, fewer, n + 1 - fewer) < confidence
    if least > 1:
        scores = np.arange(least - 1.0)
        assert metrics.threshold_at_confidence(scores, tpr, confidence) == -np.inf


def test_a_threshold_with_a_confidence_needs_the_samples_that_the_textbook_says():
    # The classical count: 1 - 0.95^n >= 0.9, and so on.
    known = {(0.95, 0.9): 45, (0.9, 0.95): 29, (0.95, 0.95): 59, (0.99, 0.95): 299, (0.5, 0.5): 1}
    assert {key: metrics.fewest_samples(*key) for key in known} == known


def test_a_threshold_with_a_confidence_keeps_its_promise_in_as_many_sets(rng):
    kept = {"normal": 0, "ties": 0}
    for _ in range(300):
        scores = rng.normal(size=200)
        threshold = metrics.threshold_at_confidence(scores, 0.9, 0.8)
        kept["normal"] += norm.sf(threshold) >= 0.9
        # Of the values 0, 1 and 2, with these probabilities.
        tied = rng.choice(3, size=200, p=[0.08, 0.02, 0.9])
        threshold = metrics.threshold_at_confidence(tied, 0.9, 0.8)
        kept["ties"] += np.array([0.08, 0.02, 0.9]) @ (np.arange(3) > threshold) >= 0.9
    # Three standard errors below, and for a distribution without ties hardly more than asked for.
    assert 0.8 - 0.07 <= kept["normal"] / 300 <= 0.87 + 0.07
    assert kept["ties"] / 300 >= 0.8 - 0.07


@pytest.mark.parametrize("confidence", [0.0, 1.0, np.nan, "0.9", None, True])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(ValueError, match=r"`confidence` must be strictly .*Received: confidence="):
        metrics.threshold_at_confidence([1.0, 2.0], 0.5, confidence)


def test_threshold_counts_nan_as_a_score_that_does_not_pass():
    scores = np.arange(1.0, 100.0)
    for lost in range(0, 6):
        # The lowest would have been rejected too, so the threshold stays where it is.
        spoilt = np.where(scores <= lost, np.nan, scores)
        assert metrics.threshold_at_tpr(spoilt, 0.9) == metrics.threshold_at_tpr(scores, 0.9)
        # Of the others, as many must pass as if nothing was wrong.
        spoilt = np.where(scores > 99 - lost, np.nan, scores)
        assert (spoilt > metrics.threshold_at_tpr(spoilt, 0.9)).sum() == 90
    with pytest.raises(ValueError, match=r"No threshold lets 0.9.*Received: 10 of 99 scores NaN"):
        metrics.threshold_at_tpr(np.where(scores <= 10, np.nan, scores), 0.9)
    with pytest.raises(ValueError, match=r"finite.*Received: id_scores\[1\]=inf"):
        metrics.threshold_at_tpr([1.0, np.inf], 0.5)


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [
        ([0.0] * 3, -1e-5),
        ([TINY, -TINY], 0.0),
        ([-0.0, 0.0], -1e-5),
        ([1e-45, -1e-45], -1e-5),
        ([4 * TINY, 2 * TINY], 3 * TINY),
        ([TINY, 0.0], 0.0),
        ([0.0, -TINY], -TINY),
        ([0.0, -3 * TINY], -1.5 * TINY),
    ],
)
def test_threshold_around_zero_is_no_subnormal_and_survives_a_runtime_that_flushes_them(
    scores, threshold
):
    from keras import ops

    found = np.float32(metrics.threshold_at_tpr(scores, tpr=0.3))
    assert found == np.float32(threshold)
    above = ops.greater(ops.convert_to_tensor(np.float32(scores)), ops.convert_to_tensor(found))
    assert bool(above[0])


def test_lowest_kept_score_is_that_of_the_false_positive_rate():
    id_scores, ood_scores = random_scores()
    lowest = metrics.lowest_kept(id_scores, 0.9)
    assert np.mean(id_scores >= lowest) >= 0.9 > np.mean(id_scores > lowest)
    assert metrics.fpr_at_tpr(id_scores, ood_scores, 0.9) == np.mean(ood_scores >= lowest)


@pytest.mark.parametrize(
    "figure",
    [
        metrics.auroc,
        metrics.fpr_at_tpr,
        metrics.aupr,
        metrics.detection_error,
        metrics.bootstrap_intervals,
    ],
)
def test_unusable_scores_are_refused_by_name(figure):
    with pytest.raises(ValueError, match=r"`ood_scores` must hold.*Received: .* shape \(0,\)"):
        figure([1.0], [])
    with pytest.raises(ValueError, match=r"`id_scores` must hold.*Received: .* shape \(1, 1\)"):
        figure([[1.0]], [1.0])
    with pytest.raises(ValueError, match=r"predict\(x\)\['score'\].*id_scores of type dict"):
        figure({"score": [1.0]}, [1.0])
    with pytest.raises(ValueError, match=r"`id_scores` must be finite.*id_scores\[1\]=nan"):
        figure([1.0, np.nan], [1.0])
    with pytest.raises(ValueError, match=r"`ood_scores` must be finite.*1 of 2 are NaN or inf"):
        figure([1.0], [-np.inf, 0.0])


@pytest.mark.parametrize("tpr", [0.0, 1.0, -0.1, 95, float("nan")])
def test_rate_outside_the_open_unit_interval_is_refused(tpr):
    with pytest.raises(
        ValueError, match=r"`tpr` must be a number strictly between 0 and 1. Received"
    ):
        metrics.fpr_at_tpr([1.0], [0.0], tpr=tpr)
    with pytest.raises(
        ValueError, match=r"`tpr` must be a number strictly between 0 and 1. Received"
    ):
        metrics.threshold_at_tpr([1.0], tpr=tpr)
    with pytest.raises(
        ValueError, match=r"`tpr` must be a number strictly between 0 and 1. Received"
    ):
        metrics.fewest_samples(tpr)


@pytest.mark.parametrize("figure", [metrics.fpr_at_tpr, metrics.aupr])
def test_unknown_positive_class_is_refused(figure):
    with pytest.raises(ValueError, match=r"must be 'id' or 'ood'. Received: positive='in'"):
        figure([1.0], [0.0], positive="in")
