"""Figures of scores that are sorted, piece by piece: in little memory beside the scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# So many scores are looked up at once.
_PIECE = 2**20


class Passing(NamedTuple):
    """What passes at several thresholds, from the lowest up.

    Attributes:
        scores: how many in-distribution (ID) scores stand exactly there.
        kept_id: ID scores from there on.
        kept_ood: out-of-distribution scores from there on.
    """

    scores: NDArray[np.int64]
    kept_id: NDArray[np.int64]
    kept_ood: NDArray[np.int64]


def pairs_in_order_twice(
    id_scores: NDArray[np.floating], ood_scores: NDArray[np.floating]
) -> Iterator[NDArray[np.int64]]:
    """Twice the ID scores above each OOD score, ties counted once: pieces of int64 arrays.

    Both are sorted, and of one type.
    """
    for first in range(0, ood_scores.size, _PIECE):
        piece = ood_scores[first : first + _PIECE]
        not_above = np.searchsorted(id_scores, piece, "right")
        yield 2 * id_scores.size - not_above - np.searchsorted(id_scores, piece, "left")


def passing(id_scores: NDArray[np.floating], ood_scores: NDArray[np.floating]) -> Iterator[Passing]:
    """What passes with a threshold just below each ID score, each different score once.

    Both are sorted, and of one type.
    """
    first = 0
    while first < id_scores.size:
        last = min(first + _PIECE, id_scores.size)
        # Equal scores stay together.
        last = int(np.searchsorted(id_scores, id_scores[last - 1], "right"))
        different, counts = np.unique(id_scores[first:last], return_counts=True)
        kept_id = id_scores.size - first - (np.cumsum(counts) - counts)
        kept_ood = ood_scores.size - np.searchsorted(ood_scores, different, "left")
        yield Passing(counts, kept_id, np.asarray(kept_ood, np.int64))
        first = last


def alike(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Both in the type that holds the numbers of both: a comparison then rounds neither."""
    kind = np.result_type(first, second)
    return first.astype(kind, copy=False), second.astype(kind, copy=False)


def sorted_alike(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Both in ascending order, in the type that holds the numbers of both."""
    first, second = alike(first, second)
    return np.sort(first), np.sort(second)


def median(values: NDArray[np.floating]) -> float:
    """The median, of float32 values as exactly as of float64 ones."""
    places = sorted({(values.size - 1) // 2, values.size // 2})
    with np.errstate(over="ignore"):
        return float(np.mean(np.partition(values, places)[places].astype(np.float64)))


def roc_points(
    id_scores: NDArray[np.floating], ood_scores: NDArray[np.floating], most: int = 4000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates, ID positive, from the highest threshold to the lowest.

    Args:
        id_scores: ID scores, in any order.
        ood_scores: OOD scores.
        most: of more different scores, so many thresholds, at evenly spaced ranks of both.
    """
    id_scores, ood_scores = sorted_alike(id_scores, ood_scores)
    thresholds = [
        scores[np.linspace(0, scores.size - 1, min(scores.size, most // 2), dtype=np.int64)]
        for scores in (id_scores, ood_scores)
    ]
    descending = np.unique(np.concatenate(thresholds))[::-1]
    fpr, tpr = (
        np.concatenate([[0.0], 1.0 - np.searchsorted(scores, descending, "left") / scores.size])
        for scores in (ood_scores, id_scores)
    )
    return fpr, tpr


def average_precision(positives: NDArray[np.floating], negatives: NDArray[np.floating]) -> float:
    """Scikit-learn's average precision: the precision at each positive score, averaged over them.

    Both are sorted, and of one type.
    """
    sums = [
        float(np.sum(at.scores * (at.kept_id / (at.kept_id + at.kept_ood))))
        for at in passing(positives, negatives)
    ]
    return math.fsum(sums) / positives.size
