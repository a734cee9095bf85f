"""The mean of vectors of each class, which arrive batch by batch."""

from __future__ import annotations

import numpy as np

from keras_lodin.detectors.statistics.finite import checked_features


class ClassMeans:
    """Streamed class means, in double precision, where no covariance is needed.

    Args:
        num_classes: number of classes.
        size: numbers in each vector.

    Attributes:
        counts: samples of each class so far, int64, `(num_classes,)`.
        sums: sum over the samples of each class, float64, `(num_classes, size)`.
    """

    def __init__(self, num_classes: int, size: int) -> None:
        self.counts = np.zeros(num_classes, "int64")
        self.sums = np.zeros((num_classes, size))

    def update(self, values: np.ndarray, labels: np.ndarray) -> None:
        """Takes in a batch, `(batch, size)`, of classes `labels`, whole numbers `(batch,)`.

        Raises:
            ValueError: if a value is not finite. The means stay as they were.
        """
        np.add.at(self.sums, labels, checked_features(values))
        self.counts += np.bincount(labels, minlength=len(self.counts))

    def merge(self, other: ClassMeans) -> None:
        """Takes in the means of other samples: as if all had been counted here."""
        self.sums += other.sums
        self.counts += other.counts

    @property
    def means(self) -> np.ndarray:
        """Mean of each class, float64, `(num_classes, size)`; 0 for a class without samples."""
        return self.sums / np.maximum(self.counts, 1)[:, None]

    @property
    def mean(self) -> np.ndarray:
        """Mean of all samples, float64, `(size,)`."""
        return self.sums.sum(axis=0) / max(int(self.counts.sum()), 1)
