"""Conformal p-values: how rare a score is under normal traffic, on one scale for all detectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_lodin.utils.late_keras import ops
from keras_lodin.utils.numbers import checked_number
from keras_lodin.utils.tensor import Tensor

# How many calibration scores a detector keeps, in rows that are searched one after the other: first
# the row, then the place in it.
TABLE_SIZE = 4096
_ROW = 64
# Of more, so many of the lowest are all kept: small p-values matter most. The others are kept at
# ranks that are evenly spaced.
_LOWEST = 1024
# How far above the exact p-value the one of a table can be, where not every score is kept.
TABLE_ERROR = 1 / 3000
# The largest share of all scores in one interval for which that holds of intervals.
MOST_IN_ONE = TABLE_ERROR - 1 / (TABLE_SIZE - _LOWEST // 4)

# Whole numbers up to here are exact in float32.
_LARGEST_COUNT = 2**24
_TINY = np.finfo(np.float32).tiny
# Behind all scores that are kept. Not infinity, of which LiteRT's converter makes this number.
FILLING = float(np.finfo(np.float32).max)


def calibration_table(scores: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What `p_value` needs of calibration scores, in arrays of one size whatever their number.

    Of n scores up to 4,096 all are kept, and the p-values are exact. Of more, the lowest 1,024
    are, and 3,072 others at ranks that are evenly spaced; a score between two that are kept
    counts all that are below the upper one. So a p-value is never below the exact one, and less
    than 1/3000 above it.

    Args:
        scores: calibration scores, shape `(n,)`, higher = more in-distribution. A NaN counts as
            lower than every number.

    Returns:
        the scores that are kept, float32 of shape `(4096,)`, in ascending order with the largest
        float32 number behind them; and 1 + the number of scores at or below what is lower than all
        of these, then from each of them on: float32 whole numbers of shape `(4097,)`, the last of
        which is n + 1. (Beyond 2^24 scores, where float32 has no more whole numbers, the unit is
        several scores.)

    Example:
    ```python
    kept, counts = calibration_table([3.0, 1.0])
    kept[:3], counts[:4]  # [1, 3, 3.4e38], [1, 2, 3, 3]
    ```
    """
    given = np.asarray(scores, np.float32)
    numbers, times = np.unique(given[~np.isnan(given)], return_counts=True)
    return table_of_counts(numbers, times, lost=given.size - int(times.sum()))


def table_of_counts(
    scores: NDArray[np.float32], times: NDArray[np.int64], lost: int = 0, exact: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The `calibration_table` of scores that were counted.

    Args:
        scores: the different ones, in ascending order, or of each of several intervals, without a
            gap where none is known, the lowest that it holds.
        times: how many there are of each.
        lost: how many are lower than every number.
        exact: whether the scores themselves were counted, and not intervals. Of intervals fewer of
            the lowest are kept and more of the others, so that p-values are less than 1/3000 above
            the exact ones where no interval holds more than `MOST_IN_ONE` of the scores.
    """
    # Some runtimes take subnormal numbers for zero: here all of them count as the lowest.
    scores = np.where(np.abs(scores) < _TINY, -_TINY, scores)
    above = np.cumsum(times)
    total = int(above[-1]) if above.size else 0
    if total <= TABLE_SIZE:
        ranks = np.arange(total)
    else:
        lowest = _LOWEST if exact else _LOWEST // 4
        evenly = np.arange(1, TABLE_SIZE - lowest + 1)
        others = -(-evenly * (total - lowest) // evenly.size)
        ranks = np.concatenate([np.arange(lowest), lowest - 1 + others])
    kept = np.full(TABLE_SIZE, FILLING, np.float32)
    kept[: ranks.size] = scores[np.searchsorted(above, ranks, "right")]
    # From one score that is kept up to the next, all that are below that next one.
    counts = np.full(TABLE_SIZE + 1, 1 + lost + total)
    places = np.searchsorted(scores, kept[: ranks.size])
    counts[: ranks.size] = 1 + lost + np.concatenate([[0], above])[places]
    # Rounded up, and what they are divided by down.
    unit = -(-(1 + lost + total) // _LARGEST_COUNT)
    counts = np.minimum(-(-counts // unit), (1 + lost + total) // unit)
    return kept, counts.astype(np.float32)


def p_value(score: Tensor, kept: Tensor, counts: Tensor) -> Tensor:
    """The conformal p-value of scores: float32, `(batch,)`, above 0 and at most 1.

    `(1 + calibration scores at or below) / (n + 1)` (Bates et al. 2023). Of fresh data like the
    calibration data at most the fraction a has a p-value of a or less, on average over
    calibration sets, for every a. A score that is NaN has the smallest p-value that there is.

    Args:
        score: float32, `(batch,)`, higher = more in-distribution.
        kept: see `calibration_table`.
        counts: see `calibration_table`.
    """
    # By operations that every format has, and in little memory: a comparison with all that are
    # kept would take 4,096 numbers for each sample.
    rows = ops.reshape(kept, (-1, _ROW))
    row = ops.maximum(_reached(score, rows[None, :, 0]) - 1, 0)
    place = _ROW * row + _reached(score, ops.take(rows, row, axis=0))
    return ops.take(counts, place, axis=0) / counts[-1]


def _reached(score: Tensor, ascending: Tensor) -> Tensor:
    """How many numbers of a row each score reaches: int32, `(batch,)`; none for a NaN."""
    return ops.sum(ops.cast(ops.greater_equal(score[:, None], ascending), "int32"), axis=-1)


def discoveries(p_values: ArrayLike, fdr: float = 0.05) -> NDArray[np.bool_]:
    """Which of many inputs are out-of-distribution, so that few of those that are named are not.

    The procedure of Benjamini and Hochberg: of m p-values the k lowest are discoveries, k the
    largest number for which the k-th lowest is at most `fdr * k / m`. The false discovery rate,
    the expected share of in-distribution (ID) inputs among the discoveries (0 where there are
    none), is then at most `fdr` times the share of ID inputs among all.

    A threshold does not promise that: where one input of a hundred is out-of-distribution (OOD), a
    threshold that 95 % of ID data pass flags five ID inputs for each OOD one.

    The promise holds for conformal p-values that share their calibration set, as those of a
    detector do: they depend on each other positively, and this procedure allows for that (Bates et
    al. 2023). Its limits:

    * The rate is an average over calibration sets and batches of inputs; one batch may have more
      false discoveries.
    * ID inputs must be like the calibration data and independent of each other. Near copies, such
      as the frames of a video, are no m inputs.
    * The smallest p-value is 1 / (n + 1), and k of m inputs are discovered only where
      `fdr * k / m` reaches that: one among a thousand, at 5 %, takes 19,999 calibration scores, and
      fifty among a thousand take 399.
    * All m are judged together: a stream that is judged piece by piece has the rate in each piece,
      and pieces without OOD inputs have nothing but false discoveries.

    Args:
        p_values: shape `(m,)`, numbers above 0 and at most 1; from one detector.
        fdr: the false discovery rate to keep, strictly between 0 and 1.

    Returns:
        for each whether it is a discovery: bool, `(m,)`.

    Raises:
        ValueError: for p-values that are none, or an `fdr` outside (0, 1).

    Example:
    ```python
    discoveries([0.01, 0.02, 0.6, 0.9], fdr=0.05)  # [True, True, False, False]
    ```
    """
    fdr = checked_number("fdr", fdr, lambda value: 0.0 < value < 1.0, "strictly between 0 and 1")
    values = np.asarray(p_values)
    if values.dtype.kind in "iu":
        values = values.astype(np.float64)
    if values.dtype.kind != "f" or values.ndim != 1 or not np.all((values > 0) & (values <= 1)):
        raise ValueError(
            "`p_values` must be numbers above 0 and at most 1, shape (m,), as "
            f"`detector.predict(x)['p_value']`. Received: p_values={p_values!r:.200}"
        )
    # A p-value of 1/20 in float32 lies above 0.05; the next float32 number below is its equal.
    # Compared in the p-values' own precision, it is at most 5 %.
    limits = (fdr * np.arange(1, values.size + 1) / max(values.size, 1)).astype(values.dtype)
    reached = np.flatnonzero(np.sort(values) <= limits)
    return values <= (limits[reached[-1]] if reached.size else 0.0)
