"""Whether a detector's traffic is still like its calibration data, window by window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_lodin.utils.numbers import check_seed, check_whole, checked_number

# So many inputs are placed among each other at once.
_BLOCK = 256
# Densities Beta(a, b) that are bet on, all but the uniform one: more small numbers or more large
# ones than there should be, more in the middle or at the ends; by much, and by little, which only
# large windows show.
_EXPONENTS = (0.5, 0.8, 0.93, 1.0, 1.08, 1.25, 2.0)
# A p-value further from those that the detector has is another's.
_ROUNDING = 2e-6
# Of the numbers from 0 to 1 that are drawn, none is nearer to an end.
_LEAST = 1e-12


@dataclass(frozen=True)
class Window:
    """What one window of traffic shows.

    Attributes:
        name: of it.
        count: how many inputs it has.
        flagged: the share that was called out-of-distribution.
        flagged_chance: the probability that as many or more are, of traffic like the calibration
            data; None where there is no threshold.
        moved: the largest distance between the share of p-values up to a level and that level, over
            all levels: 0 for uniform p-values, 1 at most.
        moved_chance: how probable a distance at least so large is, of traffic like the calibration
            data (the test of Kolmogorov and Smirnov for two samples).
        evidence: decimal logarithm of what a capital of 1 has become that has been bet against
            traffic like the calibration data since the first window.
        alarm: whether it has ever been as large as the alarm asks for, now or before.
    """

    name: str
    count: int
    flagged: float
    flagged_chance: float | None
    moved: float
    moved_chance: float
    evidence: float
    alarm: bool


class Monitor:
    """Watches the p-values of a detector in use, with an alarm of a stated false-alarm rate.

    The alarm is a bet. A capital of 1 is bet, window by window, on p-values that are not uniform,
    at odds that are fair if traffic is like the calibration data. Fair bets make nobody rich: the
    probability that the capital is ever 1/a, however long one watches, is a at most (Ville's
    inequality). So at an alarm, either traffic has changed or something has happened that happens
    with the probability `false_alarm_rate`, once in the life of the monitor.

    What is bet on are not the p-values themselves. They are computed from one calibration set, and
    so not uniform but off by what that set is off by: given enough traffic, any bet would find
    that out, and call it a change. Each input is ranked instead among the calibration scores and
    all inputs before it, ties broken by lot. Those ranks are independent and uniform if calibration
    data and traffic are alike (exchangeable), exactly, for scores without ties: conformal test
    martingales, as of Vovk et al. (2021), over Pólya's urn. The bets are a mixture of Beta
    densities, begun anew with each window, of which the n-th has the share 1/(n (n + 1)) of the
    capital: a change late in a long life is found as well.

    What it says nothing about: which inputs are out-of-distribution; and inputs that depend on each
    other, as the frames of a video do, are never like calibration data that do not.

    Args:
        possible_p_values: all that the detector can give, in ascending order:
            `detector.possible_p_values`.
        count: how many calibration scores they are computed from: `detector.p_value_count`.
        flagged_p_value: the p-value of a score at the threshold,
            `detector.p_value([detector.threshold])[0]`; None where there is no threshold.
        false_alarm_rate: the probability that there ever is a false alarm, strictly between 0
            and 1.
        seed: of the lots.

    Attributes:
        windows: what each window showed.

    Raises:
        ValueError: for p-values that are no detector's, a detector without calibration scores, a
            rate outside (0, 1), or a seed that is none.

    Example:
    ```python
    monitor = Monitor(detector.possible_p_values, detector.p_value_count)
    for day in days:
        if monitor.update(detector.p_value(day)).alarm:
            print("traffic has changed")
    ```
    """

    def __init__(
        self,
        possible_p_values: ArrayLike,
        count: int,
        flagged_p_value: float | None = None,
        *,
        false_alarm_rate: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.false_alarm_rate = checked_number(
            "false_alarm_rate",
            false_alarm_rate,
            lambda value: 0.0 < value < 1.0,
            "strictly between 0 and 1",
        )
        check_seed(seed)
        values = np.asarray(possible_p_values, np.float64)
        ascending = values.ndim == 1 and values.size > 0 and np.all(np.diff(values) > 0)
        if not ascending or values[0] <= 0 or values[-1] != 1:
            raise ValueError(
                "`possible_p_values` must be those of a detector, in ascending order up to 1: "
                "`detector.possible_p_values`. "
                f"Received: possible_p_values={possible_p_values!r:.200}"
            )
        check_whole(
            "count",
            count,
            "the number of calibration scores, `detector.p_value_count`; "
            "`calibrate` the detector first where that is None",
        )
        self._values, self._count = values, count
        # How many places among the calibration scores each p-value stands for.
        self._places = np.diff(np.round(values * (count + 1)).astype(np.int64), prepend=0)
        self._flagged_below = (
            None if flagged_p_value is None else round(flagged_p_value * (count + 1)) - 1
        )
        self._random = np.random.default_rng(seed)
        self._seen = np.zeros(values.size, np.int64)
        a, b = np.array([pair for pair in product(_EXPONENTS, repeat=2) if pair != (1.0, 1.0)]).T
        self._exponents = a - 1.0, b - 1.0
        self._scale = np.array(
            [
                math.lgamma(one) + math.lgamma(two) - math.lgamma(one + two)
                for one, two in zip(a, b, strict=True)
            ]
        )
        # Logarithms of what has been bet on each density, and not been lost.
        self._capital = np.full(a.size, -np.inf)
        self.windows: list[Window] = []

    @property
    def alarm(self) -> bool:
        """Whether there has been an alarm."""
        return bool(self.windows) and self.windows[-1].alarm

    def update(
        self, p_values: ArrayLike, flagged: ArrayLike | None = None, name: str | None = None
    ) -> Window:
        """Takes the next window of traffic into account.

        Args:
            p_values: of its inputs in order, shape `(n,)`, at least one.
            flagged: which of them were called out-of-distribution; None for those whose p-value
                says that they were.
            name: of the window; None for its number.

        Returns:
            what it shows.

        Raises:
            ValueError: for p-values that are not the detector's.
        """
        values = np.asarray(p_values, np.float64)
        cells = self._cells(values, p_values)
        flags = self._flags(values, flagged)
        number = len(self.windows) + 1
        evidence = self._bet(self._ranks(cells), number)
        count = values.size
        moved = _distance(self._values, cells)
        needed = -math.log(self.false_alarm_rate)
        window = Window(
            name=str(number) if name is None else name,
            count=count,
            flagged=float(flags.mean()),
            flagged_chance=self._chance_of_flags(int(flags.sum()), count),
            moved=moved,
            moved_chance=_chance_of_distance(moved, self._count, count),
            evidence=evidence / math.log(10.0),
            alarm=self.alarm or evidence >= needed,
        )
        self.windows.append(window)
        return window

    def _cells(self, values: NDArray[np.float64], given: ArrayLike) -> NDArray[np.intp]:
        """The place of each p-value among the possible ones."""
        if values.ndim != 1 or not values.size:
            raise ValueError(
                "A window must hold at least one p-value, shape (n,). "
                f"Received: p_values of shape {values.shape}"
            )
        upper = np.clip(np.searchsorted(self._values, values), 1, self._values.size - 1)
        if self._values.size == 1:
            upper = np.zeros(values.size, np.intp)
        lower = np.maximum(upper - 1, 0)
        nearer_below = values - self._values[lower] < self._values[upper] - values
        cells = np.where(nearer_below, lower, upper)
        wrong = ~(np.abs(values - self._values[cells]) <= _ROUNDING)
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(
                "Some p-values are none that the reference can give. They must be of the same "
                "detector with the same calibration, unrounded. Received: "
                f"p_values[{first}]={float(values[first])!r}, and {int(wrong.sum())} such of "
                f"{values.size}"
            )
        return cells

    def _flags(self, values: NDArray[np.float64], flagged: ArrayLike | None) -> NDArray[np.bool_]:
        if flagged is None:
            if self._flagged_below is None:
                return np.zeros(values.size, bool)
            return values * (self._count + 1) < self._flagged_below + 1.5
        flags = np.asarray(flagged)
        if flags.dtype != bool or flags.shape != values.shape:
            raise ValueError(
                "`flagged` must hold a truth value for each p-value. "
                f"Received: {flags.dtype} of shape {flags.shape}"
            )
        return flags

    def _ranks(self, cells: NDArray[np.intp]) -> NDArray[np.float64]:
        """The rank of each input among all before it, from 0 to 1: uniform if all are alike."""
        ranks = np.empty(cells.size)
        for first in range(0, cells.size, _BLOCK):
            block = cells[first : first + _BLOCK]
            places = self._places + self._seen
            below = (np.cumsum(places) - places)[block]
            here = places[block]
            earlier = np.tri(block.size, k=-1, dtype=bool)
            below = below + (earlier & (block[:, None] > block)).sum(axis=1)
            here = here + (earlier & (block[:, None] == block)).sum(axis=1)
            total = int(places.sum()) + np.arange(block.size)
            lots = self._random.random(block.size)
            ranks[first : first + _BLOCK] = (below + lots * here) / total
            self._seen += np.bincount(block, minlength=self._seen.size)
        return np.clip(ranks, _LEAST, 1.0 - _LEAST)

    def _bet(self, ranks: NDArray[np.float64], number: int) -> float:
        """Bets on the ranks of a window; the logarithm of the capital after it."""
        a, b = self._exponents
        won = a * np.log(ranks).sum() + b * np.log1p(-ranks).sum() - ranks.size * self._scale
        # Of the capital that still waits, 1/number, the bets that begin here take their share.
        share = -math.log(number * (number + 1.0)) - math.log(a.size)
        self._capital = np.logaddexp(self._capital, share) + won
        waiting = -math.log(number + 1.0)
        return float(np.logaddexp.reduce(np.append(self._capital, waiting)))

    def _chance_of_flags(self, flagged: int, count: int) -> float | None:
        if self._flagged_below is None:
            return None
        below = self._flagged_below
        if below >= self._count:  # a threshold above all calibration scores, which flags everything
            return 1.0
        from scipy.stats import betabinom

        return float(betabinom(count, below + 1, self._count - below).sf(flagged - 1))


def _distance(values: NDArray[np.float64], cells: NDArray[np.intp]) -> float:
    """The largest distance between the share of p-values up to a level, and the level."""
    shares = np.cumsum(np.bincount(cells, minlength=values.size)) / cells.size
    return float(np.abs(shares - values).max())


def _chance_of_distance(distance: float, n: int, m: int) -> float:
    from scipy.special import kolmogorov

    return float(kolmogorov(distance * math.sqrt(n * m / (n + m))))
