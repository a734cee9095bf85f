"""How far figures may be off because other test samples might have been drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_lodin.metrics.ranks import checked_confidence, count_at_tpr
from keras_lodin.metrics.scores import checked_scores
from keras_lodin.metrics.sorted_scores import pairs_in_order_twice, sorted_alike
from keras_lodin.utils.numbers import check_seed, check_whole

# Of no more scores are the samples themselves drawn: a thousand times, in some seconds.
_MOST_DRAWN = 200_000
_GROUPS = 2048
# So many resamples are counted at once.
_AT_ONCE = 250


def bootstrap_intervals(
    id_scores: ArrayLike,
    ood_scores: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of the AUROC and of FPR95 (ID positive).

    ID and OOD samples are drawn again with replacement, each class by itself and as often as it
    has samples. The interval holds the uncertainty of the test data alone; that of training
    (another seed, another network) is not in it.

    Of up to 200,000 scores together the samples themselves are drawn. Of more, where that would
    take minutes, how often each comes up in a resample is: for the AUROC the counts of 2,048 groups
    of neighbouring scores, within which the samples are taken as they are; for FPR95 the place of
    the lowest score that passes, whose distribution among the sorted scores is known exactly (that
    of an order statistic of uniform draws), and then the number of OOD samples from there on. Both
    have the distribution that drawing the samples gives, the AUROC's but for what the order within
    groups adds to its variance, about a millionth of it.

    Args:
        id_scores: scores of in-distribution samples, shape `(n,)`, higher = more in-distribution.
        ood_scores: scores of out-of-distribution samples, shape `(m,)`.
        resamples: how often to draw.
        seed: seed of the draws.
        confidence: the interval's level, strictly between 0 and 1.

    Returns:
        `{"auroc": (low, high), "fpr95": (low, high)}`, fractions.

    Raises:
        ValueError: for unusable scores (see `auroc`), `resamples` or `confidence`.

    Example:
    ```python
    low, high = bootstrap_intervals(id_scores, ood_scores)["auroc"]
    ```
    """
    id_scores = checked_scores(id_scores, "id_scores")
    ood_scores = checked_scores(ood_scores, "ood_scores")
    check_whole("resamples", resamples, "at least 1", most=1_000_000)
    check_seed(seed)
    confidence = checked_confidence(confidence)
    random = np.random.default_rng(seed)
    if id_scores.size + ood_scores.size <= _MOST_DRAWN:
        figures = _drawn_one_by_one(id_scores, ood_scores, resamples, random)
    else:
        figures = _drawn_as_counts(*sorted_alike(id_scores, ood_scores), resamples, random)
    tail = (1.0 - confidence) / 2.0
    (auroc_low, fpr_low), (auroc_high, fpr_high) = np.quantile(figures, [tail, 1.0 - tail], axis=0)
    return {
        "auroc": (float(auroc_low), float(auroc_high)),
        "fpr95": (float(fpr_low), float(fpr_high)),
    }


def _drawn_one_by_one(
    id_scores: NDArray[np.floating],
    ood_scores: NDArray[np.floating],
    resamples: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """AUROC and FPR95 of each resample, `(resamples, 2)`."""
    # Both figures depend on the order of the scores only. So sort once, number the groups of tied
    # scores from the highest down, and let a resample be two arrays of counts over the groups.
    n, m = id_scores.size, ood_scores.size
    unique, groups = np.unique(-np.concatenate([id_scores, ood_scores]), return_inverse=True)
    id_groups, ood_groups = groups[:n], groups[n:]
    figures = np.empty((resamples, 2))
    for row in figures:
        row[:] = _auroc_and_fpr95(
            np.bincount(id_groups[random.integers(n, size=n)], minlength=unique.size),
            np.bincount(ood_groups[random.integers(m, size=m)], minlength=unique.size),
        )
    return figures


def _auroc_and_fpr95(
    id_counts: NDArray[np.intp], ood_counts: NDArray[np.intp]
) -> tuple[float, float]:
    """AUROC and FPR95 from the samples in each group of tied scores, highest score first."""
    id_kept = np.cumsum(id_counts)
    n, m = int(id_kept[-1]), int(ood_counts.sum())
    pairs_in_order_twice = ood_counts @ (2 * id_kept - id_counts)
    last_kept = np.searchsorted(id_kept, count_at_tpr(n, 0.95))
    return float(pairs_in_order_twice) / (2 * n * m), float(ood_counts[: last_kept + 1].sum()) / m


def _drawn_as_counts(
    id_scores: NDArray[np.floating],
    ood_scores: NDArray[np.floating],
    resamples: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """AUROC and FPR95 of each resample, `(resamples, 2)`; the scores are sorted, of one type."""
    groups = _Groups.of(id_scores, ood_scores)
    aurocs = [
        groups.aurocs(min(_AT_ONCE, resamples - first), random)
        for first in range(0, resamples, _AT_ONCE)
    ]
    return np.stack([np.concatenate(aurocs), _fpr95s(id_scores, ood_scores, resamples, random)], 1)


class _Groups(NamedTuple):
    """Neighbouring scores, from the lowest up; equal scores are in one group.

    Attributes:
        ids: how many ID scores each holds.
        oods: how many OOD scores.
        in_order: the fraction of its pairs that are in order, ties counted one half.
    """

    ids: NDArray[np.int64]
    oods: NDArray[np.int64]
    in_order: NDArray[np.float64]

    @classmethod
    def of(cls, id_scores: NDArray[np.floating], ood_scores: NDArray[np.floating]) -> _Groups:
        # About as many of both classes together in each.
        edges = [
            scores[np.linspace(0, scores.size - 1, _GROUPS // 2, dtype=np.int64)]
            for scores in (id_scores, ood_scores)
        ]
        firsts = np.unique(np.concatenate(edges))
        id_ends, ood_ends = (
            np.append(np.searchsorted(scores, firsts[1:], "left"), scores.size)
            for scores in (id_scores, ood_scores)
        )
        sums = np.zeros(ood_scores.size + 1, np.int64)
        first = 1
        for piece in pairs_in_order_twice(id_scores, ood_scores):
            np.cumsum(piece, out=sums[first : first + piece.size])
            sums[first : first + piece.size] += sums[first - 1]
            first += piece.size
        ids, oods = np.diff(id_ends, prepend=0), np.diff(ood_ends, prepend=0)
        within = np.diff(sums[ood_ends], prepend=0) - 2 * oods * (id_scores.size - id_ends)
        return cls(ids, oods, within / np.maximum(2 * ids * oods, 1))

    def aurocs(self, resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
        """The AUROC of each resample."""
        n, m = int(self.ids.sum()), int(self.oods.sum())
        ids = random.multinomial(n, self.ids / n, size=resamples)
        oods = random.multinomial(m, self.oods / m, size=resamples)
        above = n - np.cumsum(ids, axis=1)
        pairs = np.einsum("rg,rg->r", oods / m, (above + self.in_order * ids) / n)
        return np.asarray(pairs)


def _fpr95s(
    id_scores: NDArray[np.floating],
    ood_scores: NDArray[np.floating],
    resamples: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """FPR95 of each resample; the scores are sorted, of one type."""
    n, m = id_scores.size, ood_scores.size
    k = count_at_tpr(n, 0.95)
    # A draw is the score at the place ceil(n U), from the largest down, for a uniform U; the k-th
    # largest of n draws so has the k-th smallest of n uniform numbers.
    places = np.ceil(n * random.beta(k, n + 1 - k, size=resamples)).astype(np.int64)
    kept = id_scores[n - np.clip(places, 1, n)]
    from_there_on = m - np.searchsorted(ood_scores, kept, "left")
    return random.binomial(m, from_there_on / m) / m
