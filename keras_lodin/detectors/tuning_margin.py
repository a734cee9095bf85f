"""By how much one setting tells two sets of samples apart better than another on the same samples.

DeLong's way (DeLong, DeLong & Clarke-Pearson 1988): the AUROC is a mean of placements, the share of
the other class below each score, and so is a difference of two AUROCs. Its standard error is that
of a mean, with everything that the two settings have in common taken out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

# Scores this close, relative to the largest, are tied: the same input scores so differently when
# it stands in another row of a batch.
ROUNDING = 1e-6


@dataclass(frozen=True)
class TuningMargin:
    """A setting that was not chosen, and by how much the choice is better.

    Attributes:
        settings: the other setting, by name.
        auroc: of the other setting, a fraction.
        margin: AUROC of the choice less that of the other setting.
        interval: `(low, high)`, the margin's 95 % interval over samples (DeLong, Student's t). It
            does not know that the choice is the best of several, which makes it a little narrow.
    """

    settings: Mapping[str, Any]
    auroc: float
    margin: float
    interval: tuple[float, float]

    @property
    def temperature(self) -> float:
        """The temperature of the other setting, of a detector that has one."""
        return self.settings["temperature"]

    @property
    def epsilon(self) -> float:
        """The epsilon of the other setting, of a detector that has one."""
        return self.settings["epsilon"]

    @property
    def told_apart(self) -> bool:
        """Whether the interval lies on one side of zero."""
        low, high = self.interval
        return low > 0.0 or high < 0.0


@dataclass(frozen=True)
class Placements:
    """Where every score stands among those of the other class; a tie counts one half.

    Attributes:
        id: for each in-distribution score, the share of the contrast below it: float64, `(n,)`.
        contrast: for each score of the contrast, the share of in-distribution scores above it:
            float64, `(m,)`.
        auroc: area under the ROC curve, in-distribution positive: the mean of either, a fraction.
    """

    id: NDArray[np.float64]
    contrast: NDArray[np.float64]
    auroc: float


def placements(id_scores: ArrayLike, contrast_scores: ArrayLike) -> Placements:
    """The placements of two sets of scores, those that differ by rounding alone counted as tied.

    Args:
        id_scores: scores of in-distribution samples, shape `(n,)`, higher = more in-distribution.
        contrast_scores: scores of the other samples, shape `(m,)`.

    Returns:
        the `Placements`.
    """
    ours, theirs = np.asarray(id_scores, np.float64), np.asarray(contrast_scores, np.float64)
    rounding = ROUNDING * float(max(np.abs(ours).max(), np.abs(theirs).max()))
    theirs_below = _twice_below(ours, np.sort(theirs), rounding)
    ours_below = _twice_below(theirs, np.sort(ours), rounding)
    return Placements(
        theirs_below / (2 * theirs.size),
        1.0 - ours_below / (2 * ours.size),
        # Of whole numbers, so that equal AUROCs are equal.
        int(theirs_below.sum()) / (2 * ours.size * theirs.size),
    )


def mean_placements(several: Sequence[Placements]) -> Placements:
    """The mean over contrasts of which each holds a copy of every sample, in order."""
    return Placements(
        np.mean([one.id for one in several], axis=0),
        np.mean([one.contrast for one in several], axis=0),
        float(np.mean([one.auroc for one in several])),
    )


def _twice_below(
    scores: NDArray[np.float64], others: NDArray[np.float64], rounding: float
) -> NDArray[np.intp]:
    """How many of the sorted `others` are below each score, twice; once those within `rounding`."""
    below = np.searchsorted(others, scores - rounding, side="left")
    not_above = np.searchsorted(others, scores + rounding, side="right")
    return below + not_above


def auroc_margin(
    one: Placements, other: Placements, *, paired: bool
) -> tuple[float, tuple[float, float]]:
    """The difference of two AUROCs that were measured on the same samples.

    Args:
        one: placements of the scores of one setting.
        other: placements of the scores of the other.
        paired: whether the contrast holds a copy of each in-distribution sample, in order, and
            not samples of its own.

    Returns:
        AUROC of `one` less that of `other`, and the ends of its 95 % interval, from -1 to 1.
    """
    ours, theirs = one.id - other.id, one.contrast - other.contrast
    margin = one.auroc - other.auroc
    fewest = min(ours.size, theirs.size)
    if fewest < 2:
        return margin, (-1.0, 1.0)
    if paired:
        variance = np.var(ours + theirs, ddof=1) / ours.size
    else:
        variance = np.var(ours, ddof=1) / ours.size + np.var(theirs, ddof=1) / theirs.size
    half = float(student.ppf(0.975, fewest - 1)) * math.sqrt(float(variance))
    return margin, (max(-1.0, margin - half), min(1.0, margin + half))
