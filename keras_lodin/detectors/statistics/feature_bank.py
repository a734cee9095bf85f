"""A sample of the training data that is kept, of bounded size and balanced by class."""

from __future__ import annotations

import hashlib
import heapq

import numpy as np

from keras_lodin.detectors.statistics.finite import checked_features


class FeatureBank:
    """Keeps vectors of training samples: all while they are few, then as many of each class.

    Which samples of a class are kept is decided by a hash of their features: the same whatever
    the order of the data, the batches, or the parts in which they were counted and merged. With
    more samples than places every class keeps the same number, or all that it has; with more
    classes than places one sample of some classes is kept, and that hash decides of which.

    Args:
        capacity: the most vectors to keep.
        num_classes: number of classes.

    Attributes:
        counts: samples of each class so far, int64, `(num_classes,)`.
    """

    def __init__(self, capacity: int, num_classes: int) -> None:
        self.capacity = capacity
        self.counts = np.zeros(num_classes, "int64")
        # Of each class a heap with the largest key first, `(-key, vector)`.
        self._kept: list[list[tuple[int, bytes]]] = [[] for _ in range(num_classes)]
        self._size = 0

    def update(self, values: np.ndarray, labels: np.ndarray) -> None:
        """Takes in a batch.

        Args:
            values: float32 array of shape `(batch, size)`.
            labels: whole numbers below `num_classes`, `(batch,)`.

        Raises:
            ValueError: if a value is not finite. The bank stays as it was.
        """
        rows = np.ascontiguousarray(checked_features(values), "float32")
        self._size = rows.shape[1]
        self.counts += np.bincount(labels, minlength=len(self.counts))
        for row, label in zip(rows, labels, strict=True):
            content = row.tobytes()
            key = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
            heapq.heappush(self._kept[label], (-key, content))
        self._trim()

    def merge(self, other: FeatureBank) -> None:
        """Takes in a bank of other samples: as if all had been kept here from the beginning."""
        self._size = self._size or other._size
        self.counts += other.counts
        for kept, others in zip(self._kept, other._kept, strict=True):
            for item in others:
                heapq.heappush(kept, item)
        self._trim()

    def _trim(self) -> None:
        # With more samples the level only falls, so what is dropped is never missed.
        level = max(1, _level(self.counts, self.capacity))
        for kept in self._kept:
            while len(kept) > level:
                heapq.heappop(kept)
        some = [kept for kept in self._kept if kept]
        if len(some) > self.capacity:
            # Of more classes than places, those of the lowest keys, which only fall with more.
            for kept in heapq.nsmallest(len(some) - self.capacity, some):
                kept.clear()

    @property
    def values(self) -> np.ndarray:
        """The vectors, float32, `(count, size)`, class by class."""
        content = b"".join(item for kept in self._kept for _, item in sorted(kept, reverse=True))
        return np.frombuffer(content, "float32").reshape(-1, max(self._size, 1))

    @property
    def labels(self) -> np.ndarray:
        """The classes of `values`, int64, `(count,)`."""
        return np.repeat(np.arange(len(self._kept)), [len(kept) for kept in self._kept])


def filled_bank(values: np.ndarray, rows: int, k: int) -> np.ndarray:
    """Vectors in an array of a fixed number of rows, zeros in those that are left.

    Args:
        values: float32, `(count, size)`.
        rows: `count` or more.
        k: how many vectors a score needs.

    Raises:
        ValueError: for fewer vectors than that.
    """
    if len(values) < k:
        raise ValueError(
            f"The bank needs k = {k} samples or more: give more training data, or a smaller `k`. "
            f"Received: {len(values)} samples"
        )
    return np.concatenate([values, np.zeros((rows - len(values), values.shape[1]), "float32")])


def _level(counts: np.ndarray, capacity: int) -> int:
    """The most samples that each class may keep for all to fit."""
    left, fullest = capacity, 0
    waiting = sorted(int(count) for count in counts if count)
    for number, count in enumerate(waiting):
        share = left // (len(waiting) - number)
        if count > share:
            return share
        left, fullest = left - count, count
    return fullest
