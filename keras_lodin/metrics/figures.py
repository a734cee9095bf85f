"""Figures of merit as functions of two arrays of scores: in-distribution and out-of-distribution.

Scores are HIGHER = MORE IN-DISTRIBUTION, one number per sample, finite. Everything is computed in
float64, treats tied scores exactly, and is a fraction between 0 and 1, not a percentage.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_lodin.metrics.ranks import (
    TINY,
    checked_confidence,
    checked_rate,
    count_at_tpr,
    promised_rank,
    reach_below,
    sure_count,
    threshold_below,
)
from keras_lodin.metrics.registry import figure
from keras_lodin.metrics.scores import checked_scores
from keras_lodin.metrics.sorted_scores import (
    alike,
    average_precision,
    median,
    pairs_in_order_twice,
    passing,
    sorted_alike,
)
from keras_lodin.utils.numbers import check_whole


@figure("auroc", "AUROC", "Area under the ROC curve, ID positive; ties count one half.", position=1)
def auroc(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Area under the ROC curve, in-distribution (ID) positive; ties count one half.

    The probability that a random ID sample scores above a random OOD sample. The choice of the
    positive class does not change it.

    Args:
        id_scores: scores of in-distribution samples, shape `(n,)`, higher = more in-distribution.
        ood_scores: scores of out-of-distribution samples, shape `(m,)`.

    Returns:
        a fraction: 1 is perfect, 0.5 is chance.

    Raises:
        ValueError: if an array is empty, not one-dimensional, or holds NaN or infinity.

    Example:
    ```python
    auroc([3.0, 2.0], [2.0, 1.0])  # 0.875: of four pairs three are in order, one is tied
    ```
    """
    id_sorted, ood_sorted = _sorted(id_scores, ood_scores)
    in_order_twice = sum(int(piece.sum()) for piece in pairs_in_order_twice(id_sorted, ood_sorted))
    return in_order_twice / (2 * id_sorted.size * ood_sorted.size)


@figure(
    "fpr95",
    "FPR95",
    "Fraction of OOD with score > threshold, at the largest threshold with at least 95 % of ID "
    "above it (ID positive). Exact under ties, not interpolated.",
    higher_is_better=False,
    positive="id",
    position=2,
)
def fpr_at_tpr(
    id_scores: ArrayLike, ood_scores: ArrayLike, tpr: float = 0.95, positive: str = "id"
) -> float:
    """False positive rate at a true positive rate ("FPR95"), exact under ties.

    Which class is positive changes this figure by several points, so say which one you report:

    * `positive="id"` (ODIN's definition, the default): a sample is kept when score > threshold.
      The threshold is the largest that keeps at least the fraction `tpr` of ID; the result is the
      fraction of OOD that it keeps too.
    * `positive="ood"` (OpenOOD's and pytorch-ood's): a sample is flagged when
      score <= threshold. The threshold is the smallest that flags at least the fraction `tpr` of
      OOD; the result is the fraction of ID that it flags too.

    Nothing is interpolated between thresholds: the rate is one that a threshold attains.

    Args:
        id_scores: scores of in-distribution samples, shape `(n,)`, higher = more in-distribution.
        ood_scores: scores of out-of-distribution samples, shape `(m,)`.
        tpr: the true positive rate to reach, strictly between 0 and 1.
        positive: the positive class, "id" or "ood".

    Returns:
        a fraction: 0 is perfect, about `tpr` is chance.

    Raises:
        ValueError: for unusable scores (see `auroc`), `tpr` or `positive`.

    Example:
    ```python
    fpr_at_tpr([4.0, 3.0, 2.0, 1.0], [2.0, 0.0], tpr=0.75)  # 0.5: keeping 2.0 keeps one OOD sample
    ```
    """
    positives, negatives = alike(
        checked_scores(id_scores, "id_scores"), checked_scores(ood_scores, "ood_scores")
    )
    if _positive_is_ood(positive):
        positives, negatives = -negatives, -positives
    return float(np.mean(negatives >= lowest_kept(positives, tpr)))


def lowest_kept(id_scores: ArrayLike, tpr: float = 0.95) -> float:
    """The lowest score that passes where `fpr_at_tpr` measures, ID positive.

    With k the smallest integer for which `k / n >= tpr`, the k-th largest of the n scores.

    Args:
        id_scores: scores of in-distribution samples, shape `(n,)`, higher = more in-distribution.
        tpr: the true positive rate to reach, strictly between 0 and 1.

    Returns:
        one of the scores.

    Raises:
        ValueError: for unusable scores (see `auroc`) or `tpr`.

    Example:
    ```python
    lowest_kept([4.0, 3.0, 2.0, 1.0], tpr=0.75)  # 2.0
    ```
    """
    scores = checked_scores(id_scores, "id_scores")
    return _kth_largest(scores, count_at_tpr(scores.size, tpr))


@figure(
    "aupr_in",
    "AUPR in",
    "Average precision with ID positive; depends on the sample counts.",
    column="AUPR in/out",
    position=3,
)
def aupr(id_scores: ArrayLike, ood_scores: ArrayLike, positive: str = "id") -> float:
    """Area under the precision-recall curve, as scikit-learn's average precision.

    Unlike the AUROC it depends on how many samples of each class there are: compare it only
    between runs on the same data. AUPR-in has ID positive, AUPR-out has OOD positive.

    Args:
        id_scores: scores of in-distribution samples, shape `(n,)`, higher = more in-distribution.
        ood_scores: scores of out-of-distribution samples, shape `(m,)`.
        positive: the positive class, "id" or "ood".

    Returns:
        a fraction: 1 is perfect, the positive class's share of all samples is chance.

    Raises:
        ValueError: for unusable scores (see `auroc`) or `positive`.

    Example:
    ```python
    aupr([3.0, 1.0], [2.0])  # 0.8333...: precision 1 at the first ID sample, 2/3 at the second
    ```
    """
    positives, negatives = _sorted(id_scores, ood_scores)
    if _positive_is_ood(positive):
        positives, negatives = -negatives[::-1], -positives[::-1]
    return average_precision(positives, negatives)


@figure(
    "aupr_out",
    "AUPR out",
    "Average precision with OOD positive; depends on the sample counts.",
    column="AUPR in/out",
    position=4,
)
def _aupr_out(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    return aupr(id_scores, ood_scores, positive="ood")


@figure(
    "detection_error",
    "Detection error",
    "Minimum over thresholds of (1 - TPR) / 2 + FPR / 2: ID and OOD equally likely, best "
    "threshold for these scores.",
    higher_is_better=False,
    column="Error",
    position=5,
)
def detection_error(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """The smallest error of any threshold when ID and OOD are equally likely.

    `min over thresholds of (1 - TPR) / 2 + FPR / 2`. This is the minimum, as in ODIN's paper, not
    the error at a TPR of 95 %; the threshold behind it is chosen on the very scores it is
    measured on, so it is a lower bound for a threshold in use.

    Args:
        id_scores: scores of in-distribution samples, shape `(n,)`, higher = more in-distribution.
        ood_scores: scores of out-of-distribution samples, shape `(m,)`.

    Returns:
        a fraction: 0 is perfect, 0.5 is chance.

    Raises:
        ValueError: for unusable scores (see `auroc`).

    Example:
    ```python
    detection_error([4.0, 3.0, 1.0, 0.0], [2.0, 0.5])  # 0.25: above 2.0 are half of ID, no OOD
    ```
    """
    id_sorted, ood_sorted = _sorted(id_scores, ood_scores)
    # First where nothing passes; between two ID scores none is better than just below the upper.
    errors = [1.0]
    for at in passing(id_sorted, ood_sorted):
        tpr, fpr = at.kept_id / id_sorted.size, at.kept_ood / ood_sorted.size
        errors.append(float(np.min(1.0 - tpr + fpr)))
    return min(errors) / 2.0


def threshold_at_tpr(id_scores: ArrayLike, tpr: float) -> float:
    """The threshold that fresh in-distribution data pass with a probability of `tpr` or more.

    A sample passes where its score is above the threshold, as in
    `is_ood = score <= threshold`. The rank is that of split conformal prediction: with
    `k = ceil(tpr * (n + 1))`, at least k of the n scores lie above the threshold. Of fresh data of
    the same kind (exchangeable with these n) at least the fraction `tpr` then passes on average
    over calibration sets, exactly, for every n and whatever the ties. The fraction `tpr` of the n
    scores themselves would be too few: of fresh data k / (n + 1) pass, 90.5 % for 20 scores and a
    `tpr` of 95 %.

    The threshold stands half way between the k-th largest score and the next lower one, so that
    the rounding of another batch size or another runtime moves no sample across it. Scores closer
    than 1e-5 of their size count as one here. Where there is no lower one it stands below the
    least by a tenth of the distance from there to the median, or 1e-5 of the scores' size.

    Args:
        id_scores: scores of in-distribution samples, shape `(n,)`, higher = more in-distribution.
            A NaN counts as a score that does not pass, as it does in use.
        tpr: the fraction of fresh data to let pass, strictly between 0 and 1.

    Returns:
        the threshold, a float that float32 represents exactly. Minus infinity, which lets
        everything pass, where k is larger than n: so few samples can show nothing less
        (`fewest_samples`).

    Raises:
        ValueError: for scores that are empty, infinite or not one-dimensional, a `tpr` outside
            (0, 1), or fewer than k scores that are numbers.

    Example:
    ```python
    threshold_at_tpr([0.0, 1.0, 2.0, 3.0], tpr=0.6)  # 0.5: k = 3 of the four lie above it
    ```
    """
    return _promising_threshold(id_scores, tpr, None)


def threshold_at_confidence(id_scores: ArrayLike, tpr: float, confidence: float) -> float:
    """The threshold that, with some confidence, the fraction `tpr` of fresh data pass or more.

    What `threshold_at_tpr` promises holds on average over calibration sets; with one of them the
    fraction that passes may be lower. Here it is `tpr` or more for the fraction `confidence` of
    calibration sets at least, whatever the scores' distribution and the ties: a one-sided
    tolerance limit. With the threshold below the k-th largest of n scores, the fraction of fresh
    data that passes has the distribution Beta(k, n + 1 - k) (with ties it is larger), which is at
    least `tpr` as often as fewer than k of n samples fall into a part of probability `tpr`; k is
    the smallest rank for which that probability, a binomial one, reaches `confidence`, and that
    keeps the average promise too.

    Args:
        id_scores: scores of in-distribution samples, shape `(n,)`, higher = more in-distribution.
            A NaN counts as a score that does not pass, as it does in use.
        tpr: the fraction of fresh data to let pass, strictly between 0 and 1.
        confidence: in what fraction of calibration sets, strictly between 0 and 1.

    Returns:
        the threshold, as of `threshold_at_tpr`. Minus infinity, which lets everything pass, where
        n scores cannot show so much (`fewest_samples`).

    Raises:
        ValueError: as `threshold_at_tpr`, and for a `confidence` outside (0, 1).

    Example:
    ```python
    scores = np.arange(100.0)
    threshold_at_confidence(scores, tpr=0.9, confidence=0.95)  # 3.5, and 8.5 on average
    ```
    """
    return _promising_threshold(id_scores, tpr, checked_confidence(confidence))


def _promising_threshold(id_scores: ArrayLike, tpr: float, confidence: float | None) -> float:
    """The threshold below the score of `promised_rank`; minus infinity where there is none."""
    scores = checked_scores(id_scores, "id_scores", nan=True)
    k = promised_rank(scores.size, tpr, confidence)
    if k > scores.size:
        return -math.inf
    numbers = scores[~np.isnan(scores)]
    if k > numbers.size:
        raise ValueError(
            f"No threshold lets {float(tpr):g} of such data pass: a score that is NaN never does. "
            "Look for NaN in the classifier's logits, or ask for a smaller `tpr`. "
            f"Received: {scores.size - numbers.size} of {scores.size} scores NaN, tpr={tpr}"
        )
    numbers[np.abs(numbers) < TINY] = 0.0
    kept, typical = _kth_largest(numbers, k), median(np.abs(numbers))
    with np.errstate(over="ignore"):
        # In the scores' own type, rounded down.
        reach = np.nextafter(numbers.dtype.type(reach_below(kept, typical)), -np.inf)
    steps = np.concatenate([[kept], _lower(numbers, kept, reach)])
    return threshold_below(steps, steps[1:], typical, median(numbers))


def _lower(scores: NDArray[np.floating], kept: float, reach: np.floating) -> NDArray[np.float64]:
    """The different scores below one, in descending order: down to a reach, and two beyond it."""
    lower = scores[scores < kept]
    within = lower >= reach
    steps, beyond = [np.unique(lower[within])[::-1]], lower[~within]
    for _ in range(2):
        if beyond.size:
            steps.append(beyond.max(keepdims=True))
            beyond = beyond[beyond < steps[-1]]
    return np.concatenate(steps).astype(np.float64)


def fewest_samples(tpr: float, confidence: float | None = None) -> int:
    """How many calibration samples it takes to promise a true positive rate: 19 for 95 %.

    Of n calibration scores the fraction n / (n + 1) of fresh data can be promised at most on
    average, and a rate with the confidence 1 - rate^n.

    Args:
        tpr: the fraction of fresh data to let pass, strictly between 0 and 1.
        confidence: None for the promise that holds on average, or in what fraction of calibration
            sets it is to hold, strictly between 0 and 1.

    Returns:
        the least n with a finite `threshold_at_tpr`, or `threshold_at_confidence`.

    Raises:
        ValueError: for a `tpr` or a `confidence` outside (0, 1).

    Example:
    ```python
    fewest_samples(0.95)  # 19
    fewest_samples(0.95, confidence=0.9)  # 45
    ```
    """
    rate = checked_rate(tpr)
    least = math.ceil(rate / (1 - rate))
    if confidence is None:
        return least
    # As `threshold_at_confidence` counts, whatever the rounding of logarithms.
    sure = math.floor(math.log1p(-checked_confidence(confidence)) / math.log(rate))
    while sure_count(sure, tpr, confidence) > sure:
        sure += 1
    return max(least, sure)


def calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: how far confidence is from accuracy (Guo et al. 2017, eq. 3).

    Predictions are sorted into bins of equal width by their confidence; the result is the mean
    over the samples of |accuracy - mean confidence| of their bin.

    Args:
        confidence: probability of the predicted class, shape `(n,)`, from 0 to 1.
        correct: whether each prediction is right, shape `(n,)`.
        bins: number of bins; a bin's upper end belongs to it.

    Returns:
        a fraction: 0 is perfect.

    Raises:
        ValueError: for arrays that are empty, of other shapes, or out of range, and for `bins` that
            is no whole number from 1 to a million.

    Example:
    ```python
    calibration_error([0.9, 0.9, 0.6, 0.6], [True, True, True, False])  # 0.1
    ```
    """
    certainty = checked_scores(confidence, "confidence").astype(np.float64)
    right = np.asarray(correct)
    if right.shape != certainty.shape or not np.isin(right, (0, 1)).all():
        raise ValueError(
            "`correct` must hold one truth value for each confidence. "
            f"Received: correct of shape {right.shape}, confidence of shape {certainty.shape}"
        )
    check_whole("bins", bins, "at least 1", most=1_000_000)
    if certainty.min() < 0.0 or certainty.max() > 1.0 + 1e-6:
        raise ValueError(
            "Confidences must be from 0 to 1. Received: confidences from "
            f"{certainty.min()} to {certainty.max()}"
        )
    places = np.clip(np.ceil(certainty * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right - certainty, minlength=bins)
    return float(np.abs(gaps).sum() / certainty.size)


def _sorted(
    id_scores: ArrayLike, ood_scores: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    return sorted_alike(
        checked_scores(id_scores, "id_scores"), checked_scores(ood_scores, "ood_scores")
    )


def _positive_is_ood(positive: str) -> bool:
    if positive not in ("id", "ood"):
        raise ValueError(f"`positive` must be 'id' or 'ood'. Received: positive={positive!r}")
    return positive == "ood"


def _kth_largest(scores: NDArray[np.floating], k: int) -> float:
    return float(np.partition(scores, scores.size - k)[scores.size - k])
