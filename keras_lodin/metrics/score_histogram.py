"""Scores counted in bounded memory, from which thresholds, p-values and figures are read."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_lodin.metrics.ordered_bits import numbers_of, ordered_bits
from keras_lodin.metrics.p_values import table_of_counts
from keras_lodin.metrics.ranks import (
    TINY,
    checked_confidence,
    count_at_tpr,
    promised_rank,
    reach_below,
    threshold_below,
)
from keras_lodin.utils.numbers import check_whole

# So many scores are counted at once.
_PIECE = 2**20
# With fewer cells infinity would share one with finite numbers.
_FEWEST_CELLS = 512
_MOST_CELLS = 65_536


class _Counted(NamedTuple):
    """Cells that hold scores, in ascending order; each is all numbers of some leading bits.

    Attributes:
        first: the lowest number in each, as `ordered_bits`.
        free: how many of the last bits differ within it: 0 for a single number.
        counts: how many scores lie in it.
    """

    first: NDArray[np.uint32]
    free: NDArray[np.uint8]
    counts: NDArray[np.int64]

    @property
    def last(self) -> NDArray[np.uint32]:
        """The highest number in each."""
        width = (np.uint64(1) << self.free.astype(np.uint64)) - np.uint64(1)
        return (self.first + width).astype(np.uint32)

    @property
    def lowest(self) -> NDArray[np.float32]:
        """The lowest score that can be in each."""
        return numbers_of(self.first)

    @property
    def highest(self) -> NDArray[np.float32]:
        """The highest score that can be in each."""
        return numbers_of(self.last)


class _Plan(NamedTuple):
    """Cells to be divided by another pass: their places, and bits by which each is divided."""

    places: NDArray[np.intp]
    bits: NDArray[np.uint8]
    offsets: NDArray[np.int64]


class ScoreHistogram:
    """Counts scores of any number in at most 768 KiB, and answers as if they had been kept.

    The scores of a hundred million images are in many files, which several machines wrote. Each
    counts its own; merged in whatever order, the histograms are the same as if all had been counted
    by one. What is counted are the scores' leading bits in the order of the numbers: as many bits
    as 65,536 cells have room for. Up to 65,536 different scores every cell is a single number, and
    every answer exact; beyond, answers are bounds, or on the safe side.

    What one pass over the scores leaves open a second one settles, with a histogram that is `finer`
    where it matters: it divides cells by as many of the last bits as are needed for the exact
    threshold, and the fullest for p-values and figures.

    Scores are counted as float32 numbers, which those of detectors are. -0.0 is 0.0.

    Args:
        cells: how many counts to hold at most, from 512 to 65,536.

    Raises:
        ValueError: for another number of cells.

    Example:
    ```python
    first = ScoreHistogram()
    for scores in files:
        first.update(scores)
    second = first.finer(tpr=0.95)
    for scores in files:
        second.update(scores)
    detector.calibrate_from(second, tpr=0.95)
    ```
    """

    def __init__(self, cells: int = _MOST_CELLS) -> None:
        check_whole("cells", cells, f"from {_FEWEST_CELLS} to {_MOST_CELLS}", most=_MOST_CELLS)
        if cells < _FEWEST_CELLS:
            raise ValueError(
                f"`cells` must be at least {_FEWEST_CELLS}, so that infinity does not share one "
                f"with other scores. Received: cells={cells}"
            )
        self._most = int(cells)
        self._free = 0
        self._numbers = np.zeros(0, np.uint32)  # of the cells: their leading bits
        self._counts = np.zeros(0, np.int64)

    def update(self, scores: ArrayLike) -> None:
        """Counts scores.

        Args:
            scores: shape `(n,)`, numbers, which may be infinite; none at all is fine.

        Raises:
            ValueError: for NaN, or what is no array of numbers of one axis: nothing is counted.
        """
        checked = _checked(scores)
        for first in range(0, checked.size, _PIECE):
            self._count(ordered_bits(checked[first : first + _PIECE]))

    def _count(self, bits: NDArray[np.uint32]) -> None:
        numbers, counts = np.unique(bits >> np.uint32(self._free), return_counts=True)
        self._add(numbers, counts)

    def _add(self, numbers: NDArray[np.uint32], counts: NDArray[np.int64]) -> None:
        """Counts cells of as many free bits as the own ones."""
        self._numbers, self._counts = _summed(
            np.concatenate([self._numbers, numbers]), np.concatenate([self._counts, counts])
        )
        while self._numbers.size > self._most:
            self._widen(self._free + 1)

    def _widen(self, free: int) -> None:
        shift = np.uint32(free - self._free)
        self._numbers, self._counts = _summed(self._numbers >> shift, self._counts)
        self._free = free

    def emptied(self) -> ScoreHistogram:
        """A histogram of the same pass that has counted nothing: to count apart, and be merged."""
        return ScoreHistogram(self._most)

    def merge(self, other: ScoreHistogram) -> None:
        """Counts what another histogram has counted: the same as if all had been counted here.

        Args:
            other: a histogram of as many cells, or one of the same `finer` pass. It is left as it
                is.

        Raises:
            ValueError: for another kind of histogram.
        """
        if type(other) is not type(self) or not self._goes_with(other):
            raise ValueError(
                "A histogram is merged with one of as many cells, or a finer one with a copy of "
                "itself, which counted other scores of the same pass. Received: a histogram of "
                f"{other._most} cells, for one of {self._most}"
                if isinstance(other, ScoreHistogram)
                else f"A histogram is merged with histograms. Received: {type(other).__name__}"
            )
        self._take(other)

    def _goes_with(self, other: ScoreHistogram) -> bool:
        return other._most == self._most

    def _take(self, other: ScoreHistogram) -> None:
        free = max(self._free, other._free)
        if free > self._free:
            self._widen(free)
        numbers, counts = _summed(other._numbers >> np.uint32(free - other._free), other._counts)
        self._add(numbers, counts)

    @property
    def count(self) -> int:
        """How many scores have been counted; of a finer histogram, in the pass before."""
        return int(self._counts.sum())

    @property
    def infinite(self) -> int:
        """How many of them are infinite."""
        cells = self._counted()
        return int(cells.counts[np.isinf(cells.lowest) | np.isinf(cells.highest)].sum())

    @property
    def fullest(self) -> float:
        """The largest share of all scores in one cell that is no single number; 0 if none is.

        By so much p-values may be above the exact ones.
        """
        cells = self._counted()
        open_counts = cells.counts[cells.free > 0]
        return float(open_counts.max() / cells.counts.sum()) if open_counts.size else 0.0

    def _counted(self) -> _Counted:
        """The cells that hold scores."""
        first = self._numbers << np.uint32(self._free)
        return _Counted(first, np.full(first.size, self._free, np.uint8), self._counts)

    def _some(self) -> _Counted:
        cells = self._counted()
        if not cells.counts.size:
            raise ValueError(
                "The histogram has counted no scores: `update` it first. Received: 0 scores"
            )
        return cells

    def finer(self, tpr: float | None = None, confidence: float | None = None) -> ScoreHistogram:
        """An empty histogram for another pass over the same scores, which is finer.

        Args:
            tpr: divide the cell of this threshold, and those just below it, into single numbers,
                so that `threshold_at_tpr` is exact. None where no threshold is wanted.
            confidence: that of the threshold, see `threshold_at_tpr`.

        Returns:
            a histogram of as many cells at most, beside what this one knows. The fullest cells are
            divided most. When it has counted all scores it answers as this one does, but more
            exactly, and can be `finer` in its turn. Copies of it (`copy.deepcopy`, `pickle`) can
            count on several machines, and are merged.

        Raises:
            ValueError: before any scores are counted, for a `tpr` or a `confidence` outside (0, 1).
        """
        cells = self._some()
        first: list[int] = []
        if tpr is not None:
            rank = promised_rank(int(cells.counts.sum()), tpr, confidence)
            first = _around_threshold(cells, rank)
        return _Finer(self._most, cells, _plan(cells, first, self._most))

    def kth_largest(self, k: int) -> tuple[float, float]:
        """Between which numbers the k-th largest score lies: twice the same where it is known.

        Args:
            k: from 1 to the number of scores.

        Returns:
            the lowest and the highest number that it can be.

        Raises:
            ValueError: if there are fewer scores.
        """
        cells = self._some()
        total = int(cells.counts.sum())
        check_whole("k", k, f"from 1 to the number of scores, {total}", most=total)
        place = _cell_of(cells, k)
        return float(cells.lowest[place]), float(cells.highest[place])

    def threshold_at_tpr(self, tpr: float, confidence: float | None = None) -> float:
        """The threshold of `keras_lodin.metrics.threshold_at_tpr`, without holding the scores.

        The promise holds in any case: where the cells are no single numbers, all scores of the cell
        that it falls into lie above. Of 65,536 different scores at most, and of any number after a
        pass with a histogram that is `finer` for this `tpr`, the same scores pass as of the arrays.

        Args:
            tpr: the fraction of fresh data to let pass, strictly between 0 and 1.
            confidence: None for the promise on average, else that of
                `keras_lodin.metrics.threshold_at_confidence`.

        Returns:
            the threshold, a float that float32 represents exactly; minus infinity for too few
            scores.

        Raises:
            ValueError: without scores, for infinite ones, or a `tpr` or a `confidence` outside
                (0, 1).
        """
        cells = self._some()
        if self.infinite:
            raise ValueError(
                "A threshold is set between finite scores. Look for infinite values in the "
                f"classifier's logits. Received: {self.infinite} infinite scores"
            )
        total = int(cells.counts.sum())
        k = promised_rank(
            total, tpr, None if confidence is None else checked_confidence(confidence)
        )
        if k > total:
            return -math.inf
        place = _cell_of(cells, k)
        bottoms, tops = (_flushed(ends[place::-1]) for ends in (cells.lowest, cells.highest))
        return threshold_below(bottoms, tops[1:], *_medians(cells))

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-values of scores against those that were counted.

        `(1 + counted scores at or below) / (n + 1)`, never below the exact ones and less than
        `fullest` above.

        Args:
            scores: shape `(m,)`, higher = more in-distribution.

        Returns:
            shape `(m,)`, above 0 and at most 1.

        Raises:
            ValueError: without counted scores, for NaN, or what is no array of numbers of one axis.
        """
        cells = self._some()
        sums = np.concatenate([[0], np.cumsum(cells.counts)])
        places = np.searchsorted(cells.first, ordered_bits(_checked(scores)), "right")
        return np.asarray((1 + sums[places]) / (1 + sums[-1]))

    def auroc(self, ood_scores: ScoreHistogram) -> tuple[float, float]:
        """Between which numbers the AUROC lies, of these in-distribution (ID) scores, ID positive.

        Args:
            ood_scores: a histogram of out-of-distribution scores.

        Returns:
            the lowest and the highest that it can be, fractions; twice the same number where no
            two cells overlap that are more than one number. The mean of both is far closer than
            they are apart: within a cell of 65,536 the order is as good as even.

        Raises:
            ValueError: if either has no scores.
        """
        id_cells, ood_cells = self._some(), ood_scores._some()
        below = np.concatenate([[0], np.cumsum(ood_cells.counts)])
        # A pair counts 2 in order and 1 tied: at least, at worst; at most, at best.
        pairs = 2 * int(id_cells.counts.sum()) * int(below[-1])
        bounds = []
        for ends, own in ((ood_cells.last, id_cells.first), (ood_cells.first, id_cells.last)):
            lower = below[np.searchsorted(ends, own, "left")]
            twice = lower + below[np.searchsorted(ends, own, "right")]
            # Whole numbers of Python: a billion times a billion pairs are more than int64 has.
            bounds.append(int(id_cells.counts.astype(object) @ twice.astype(object)) / pairs)
        return bounds[0], bounds[1]

    def fpr_at_tpr(self, ood_scores: ScoreHistogram, tpr: float = 0.95) -> tuple[float, float]:
        """Between which numbers the false positive rate at a true positive rate lies, ID positive.

        Args:
            ood_scores: a histogram of out-of-distribution scores.
            tpr: the true positive rate to reach, strictly between 0 and 1.

        Returns:
            the lowest and the highest that it can be, fractions; see
            `keras_lodin.metrics.fpr_at_tpr`.

        Raises:
            ValueError: if either has no scores, or for a `tpr` outside (0, 1).
        """
        id_cells, ood_cells = self._some(), ood_scores._some()
        place = _cell_of(id_cells, count_at_tpr(int(id_cells.counts.sum()), tpr))
        total = ood_cells.counts.sum()
        return (
            float(ood_cells.counts[ood_cells.first >= id_cells.last[place]].sum() / total),
            float(ood_cells.counts[ood_cells.last >= id_cells.first[place]].sum() / total),
        )

    def calibration_table(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What a detector keeps of the scores for its p-values.

        Returns:
            what `keras_lodin.metrics.p_values.calibration_table` gives of the scores themselves;
            where cells are no single numbers, p-values are at most `fullest` further from the exact
            ones.
        """
        cells = self._counted()
        return table_of_counts(cells.lowest, cells.counts, exact=not cells.free.any())

    def __repr__(self) -> str:
        return f"ScoreHistogram({self.count:,} scores)"


class _Finer(ScoreHistogram):
    """A histogram of another pass: it divides cells of the one before, and knows the others."""

    def __init__(self, most: int, before: _Counted, plan: _Plan) -> None:
        super().__init__(most)
        self._before, self._plan = before, plan
        self._seen = 0
        self._counts = np.zeros(int(plan.offsets[-1]), np.int64)

    @property
    def count(self) -> int:
        return int(self._before.counts.sum())

    def emptied(self) -> ScoreHistogram:
        return _Finer(self._most, self._before, self._plan)

    def _count(self, bits: NDArray[np.uint32]) -> None:
        self._seen += bits.size
        if not self._plan.places.size:
            return
        first = self._before.first[self._plan.places]
        free = self._before.free[self._plan.places]
        cells = np.maximum(np.searchsorted(first, bits, "right") - 1, 0)
        within = (bits >= first[cells]) & (bits <= self._before.last[self._plan.places][cells])
        bits, cells = bits[within], cells[within]
        parts = (bits - first[cells]) >> (free - self._plan.bits)[cells].astype(np.uint32)
        places = self._plan.offsets[cells] + parts
        self._counts += np.bincount(places, minlength=self._counts.size)

    def _goes_with(self, other: ScoreHistogram) -> bool:
        if not isinstance(other, _Finer):
            return False
        mine: list[np.ndarray] = [*self._before, *self._plan]
        its: list[np.ndarray] = [*other._before, *other._plan]
        return all(map(np.array_equal, mine, its))

    def _take(self, other: ScoreHistogram) -> None:
        assert isinstance(other, _Finer)
        self._seen += other._seen
        self._counts = self._counts + other._counts

    def _counted(self) -> _Counted:
        before, plan = self._before, self._plan
        sums = np.add.reduceat(self._counts, plan.offsets[:-1]) if plan.places.size else 0
        if self._seen != before.counts.sum() or np.any(sums != before.counts[plan.places]):
            raise ValueError(
                "A finer histogram answers when it has counted the same scores as the one that it "
                f"came from, all of them and each once: {before.counts.sum():,} scores. "
                f"Received: {self._seen:,} scores"
            )
        cell = np.repeat(np.arange(plan.places.size), np.diff(plan.offsets))
        part = np.arange(self._counts.size) - plan.offsets[:-1][cell]
        free = (before.free[plan.places] - plan.bits)[cell]
        first = before.first[plan.places][cell] + (part.astype(np.uint32) << free.astype(np.uint32))
        held = self._counts > 0
        others = np.ones(before.counts.size, bool)
        others[plan.places] = False
        joined = _Counted(
            np.concatenate([first[held], before.first[others]]),
            np.concatenate([free[held], before.free[others]]),
            np.concatenate([self._counts[held], before.counts[others]]),
        )
        order = np.argsort(joined.first)
        return _Counted(joined.first[order], joined.free[order], joined.counts[order])


def _summed(
    numbers: NDArray[np.uint32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Each number once, in ascending order, with the sum of its counts."""
    order = np.argsort(numbers, kind="stable")
    numbers, counts = numbers[order], counts[order]
    begins = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] ^ np.uint32(1)))
    return numbers[begins], np.add.reduceat(counts, begins) if begins.size else counts


def _checked(scores: ArrayLike) -> NDArray[np.float32]:
    given = np.asarray(scores)
    if given.dtype.kind not in "fiu" or given.ndim != 1:
        raise ValueError(
            "`scores` must be an array of numbers with one axis, as "
            f"`detector.predict(x)['score']`. Received: scores={scores!r:.200}"
        )
    with np.errstate(over="ignore"):
        numbers = given.astype(np.float32)
    wrong = np.isnan(numbers)
    if wrong.any():
        raise ValueError(
            "A NaN has no place among scores: leave it out, or look for NaN in the classifier's "
            f"logits. Received: {int(wrong.sum())} NaN, the first of them scores[{wrong.argmax()}]"
        )
    return numbers


def _cell_of(cells: _Counted, k: int) -> int:
    """The place of the cell that holds the k-th largest score."""
    return int(np.searchsorted(np.cumsum(cells.counts), cells.counts.sum() - k, "right"))


def _flushed(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """With subnormal numbers as 0."""
    return np.where(np.abs(scores) < TINY, 0.0, scores.astype(np.float64))


def _medians(cells: _Counted) -> tuple[float, float]:
    """The median of the scores' sizes, and that of the scores; each counts as its cell's lowest."""
    scores = _flushed(cells.lowest)
    by_size = np.argsort(np.abs(scores), kind="stable")
    return (
        _median(np.abs(scores)[by_size], cells.counts[by_size]),
        _median(scores, cells.counts),
    )


def _median(ascending: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    sums = np.cumsum(counts)
    middle = np.searchsorted(sums, [(sums[-1] - 1) // 2, sums[-1] // 2], "right")
    return float(np.mean(ascending[middle]))


def _around_threshold(cells: _Counted, k: int) -> list[int]:
    """The cell that holds the k-th largest score, and lower ones in which a gap is looked for."""
    if k > cells.counts.sum():
        return []
    place = _cell_of(cells, k)
    reach = reach_below(float(cells.lowest[place]), _medians(cells)[0])
    lowest = int(np.searchsorted(cells.highest, reach))
    # At least one, for the next lower score.
    return list(range(place, max(min(lowest, place - 1) - 1, -1), -1))


def _plan(cells: _Counted, wanted: list[int], most: int) -> _Plan:
    """How to divide cells into `most` parts at most: the wanted ones first, then the fullest."""
    bits = np.zeros(cells.counts.size, np.uint8)
    room = most
    for place in wanted:
        if place != wanted[0] and room <= most // 2:
            break
        bits[place] = min(int(cells.free[place]), room.bit_length() - 1)
        room -= 1 << int(bits[place])
    rest = np.flatnonzero((cells.free > 0) & (bits == 0))
    bits[rest] = _dividing(cells.counts[rest], cells.free[rest], room)
    places = np.flatnonzero(bits)
    offsets = np.concatenate([[0], np.cumsum(np.int64(1) << bits[places].astype(np.int64))])
    return _Plan(places, bits[places], offsets)


def _dividing(counts: NDArray[np.int64], free: NDArray[np.uint8], room: int) -> NDArray[np.int64]:
    """By how many bits to divide cells, so that no part holds more than it must."""

    def divided(held: int) -> NDArray[np.int64]:
        """As many parts as it takes for each to hold so many on average."""
        bits = np.ceil(np.log2(np.maximum(counts / held, 1.0))).astype(np.int64)
        return np.minimum(bits, free)

    def parts(bits: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(bits > 0, 1 << bits, 0)

    least, most = 0, max(int(counts.max(initial=0)), 1)
    while most - least > 1:
        held = (least + most) // 2
        least, most = (least, held) if parts(divided(held)).sum() <= room else (held, most)
    bits = divided(most)
    # What room is left goes to the fullest.
    fullest = np.argsort(-counts / (1 << bits), kind="stable")
    fullest = fullest[bits[fullest] < free[fullest]]
    more = (parts(bits + 1) - parts(bits))[fullest]
    bits[fullest[np.cumsum(more) <= room - parts(bits).sum()]] += 1
    return bits
