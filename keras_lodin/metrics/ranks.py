"""Ranks that promise a true positive rate, and where below a score a threshold stands."""

from __future__ import annotations

import math
from fractions import Fraction
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from keras_lodin.utils.numbers import checked_number

# Subnormal numbers count as zero, because TensorFlow and most accelerators flush them to zero: a
# threshold of -1e-45 would not let a score of 0 pass.
TINY = float(np.finfo(np.float32).tiny)
# Scores closer than this fraction of their size may be equal but for rounding: float32 in another
# order of operations differs by some 1e-6.
_ROUNDING = 1e-5
# How far below the lowest score that passes a gap is looked for, in the same unit.
_REACH = 64.0


def checked_rate(tpr: float) -> Fraction:
    """The decimal fraction that `tpr` was written as: 19/20 for 0.95."""
    # A text or a truth value may compare like a number.
    if not isinstance(tpr, Real) or isinstance(tpr, bool) or not 0.0 < tpr < 1.0:
        raise ValueError(f"`tpr` must be a number strictly between 0 and 1. Received: tpr={tpr!r}")
    # In floating point 0.07 * 100 is 7.000000000000001, whose ceiling is 8. (`str` and not `repr`:
    # the latter of a numpy number is no number.)
    return Fraction(str(tpr))


def checked_confidence(confidence: float) -> float:
    """A confidence as a float, strictly between 0 and 1."""
    return checked_number(
        "confidence", confidence, lambda value: 0.0 < value < 1.0, "strictly between 0 and 1"
    )


def count_at_tpr(n: int, tpr: float) -> int:
    """The smallest k with k / n >= tpr."""
    return math.ceil(checked_rate(tpr) * n)


def sure_count(n: int, tpr: float, confidence: float) -> int:
    """The smallest k for which P(fewer than k of n fall into a part of probability tpr) suffices.

    n + 1 where none does.
    """
    # Here and not above: the import takes a second.
    from scipy.stats import binom

    rate, sure = float(checked_rate(tpr)), checked_confidence(confidence)
    return 1 + int(binom.ppf(sure, n, rate)) if n else 1


def promised_rank(n: int, tpr: float, confidence: float | None = None) -> int:
    """Which of n scores, from the largest down, must pass for a promise about fresh ones.

    n + 1 where n scores cannot show so much. See `keras_lodin.metrics.threshold_at_tpr`, and
    `threshold_at_confidence` for the promise with a confidence.
    """
    average = count_at_tpr(n + 1, tpr)
    return average if confidence is None else max(average, sure_count(n, tpr, confidence))


def rounding_distance(kept: float, typical: float) -> float:
    """How far below a score others may lie that are equal to it but for rounding.

    Args:
        kept: the score.
        typical: the median size of the scores.
    """
    return _ROUNDING * (max(abs(kept), typical) or 1.0)


def reach_below(kept: float, typical: float) -> float:
    """The lowest score from which a gap is still looked for; see `rounding_distance`."""
    return kept - _REACH * rounding_distance(kept, typical)


def threshold_below(
    bottoms: NDArray[np.float64], tops: NDArray[np.float64], typical: float, middle: float
) -> float:
    """A float32 below the lowest score that passes, as far from it as from the next lower one.

    Scores closer than 1e-5 of their size count as one. Where they stand so densely that every gap
    is small, it does not go far in search of one.

    Args:
        bottoms: of the lowest score that passes and of all that lie lower, in descending order,
            the lowest that each can be, shape `(k + 1,)`, subnormal ones as 0. At least two of
            those beyond `reach_below`, if there are any; the others change nothing.
        tops: the highest that each of the lower ones can be, `(k,)`: of scores that are known
            exactly the same numbers.
        typical: the median size of all scores.
        middle: their median.
    """
    with np.errstate(over="ignore"):  # float64 scores may lie beyond float32's range
        kept = float(bottoms[0])
        apart = rounding_distance(kept, typical)
        gaps = bottoms[:-1] - tops
        near = bottoms[:-1] >= reach_below(kept, typical)
        wide = np.flatnonzero(near & (gaps > apart))
        if wide.size or not near.all():
            place = int(wide[0]) if wide.size else int(np.argmax(np.where(near, gaps, -1.0)))
            upper, lower = float(bottoms[place]), float(tops[place])
            return _float32_below(upper, upper / 2.0 + lower / 2.0)
        least = float(bottoms[-1])
        return _float32_below(least, least - max(apart, 0.1 * (middle - least)))


def _float32_below(score: float, threshold: float) -> float:
    """The float32 nearest to a threshold that is below a score; no subnormal."""
    rounded = np.float32(threshold)
    if float(rounded) >= score:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    if abs(rounded) < TINY:
        return 0.0 if score > 0.0 else -TINY
    return float(rounded)
