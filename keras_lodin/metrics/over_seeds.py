"""What several seeds say together: means with intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FIGURES = ("auroc", "fpr95", "id_accuracy")


@dataclass(frozen=True)
class Spread:
    """Several values of one figure, one for each seed.

    Attributes:
        values: seed -> value.
        mean: their mean.
        half_width: of the 95 % t-interval of the mean; None for a single value.
    """

    values: dict[int, float]
    mean: float
    half_width: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval, or None for a single value."""
        if self.half_width is None:
            return None
        return self.mean - self.half_width, self.mean + self.half_width

    @property
    def inconclusive(self) -> bool:
        """Whether the interval includes zero, or there is none."""
        return self.interval is None or self.interval[0] <= 0.0 <= self.interval[1]


def spread(values: Mapping[int, float]) -> Spread:
    """The mean of one value for each seed, at least one, and Student's 95 % interval of it."""
    from scipy import stats  # Here, because its import takes most of a second.

    numbers = np.array(list(values.values()), "float64")
    half_width = None
    if len(numbers) > 1:
        error = float(stats.sem(numbers))
        half_width = float(stats.t.ppf(0.975, len(numbers) - 1)) * error
    return Spread({int(seed): float(v) for seed, v in values.items()}, numbers.mean(), half_width)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Spread:
    """First minus second, seed by seed, over the seeds that both have.

    Raises:
        ValueError: if they share no seed.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise ValueError(
            "Two recipes are compared seed by seed, and these share none. "
            f"Received: seeds {sorted(first)} and {sorted(second)}"
        )
    return spread({seed: first[seed] - second[seed] for seed in shared})


def over_ood_sets(rows: Sequence[Mapping[str, Any]], detector: str) -> dict[str, float]:
    """The `FIGURES` of one detector in one evaluation's `results`, averaged over the OOD sets.

    Raises:
        ValueError: if the evaluation has no such detector.
    """
    own = [row for row in rows if row["detector"] == detector]
    if not own:
        known = ", ".join(dict.fromkeys(row["detector"] for row in rows))
        raise ValueError(f"The evaluation has {known}. Received: detector={detector!r}")
    return {figure: math.fsum(row[figure] for row in own) / len(own) for figure in FIGURES}
