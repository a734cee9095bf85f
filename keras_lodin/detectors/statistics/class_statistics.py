"""Class means and the covariance they share, of features that arrive batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_lodin.detectors.statistics.finite import checked_features


class ClassStatistics:
    """Streamed class means and the scatter of samples around the mean of their own class.

    Batches are merged by the update of Chan, Golub & LeVeque (1979), in double precision: neither
    how data is cut into batches nor their order matters, and memory does not grow with them.

    Args:
        num_classes: number of classes.
        size: number of features.

    Attributes:
        counts: samples of each class so far, int64, `(num_classes,)`.
        means: mean of each class, float64, `(num_classes, size)`; 0 for a class without samples.
        scatter: sum over all samples of `(z - mean_y) (z - mean_y)^T`, float64, `(size, size)`.
    """

    def __init__(self, num_classes: int, size: int) -> None:
        self.counts = np.zeros(num_classes, "int64")
        self.means = np.zeros((num_classes, size))
        self.scatter = np.zeros((size, size))

    def update(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Takes in a batch.

        Args:
            features: array of shape `(batch, size)`.
            labels: whole numbers below `num_classes`, `(batch,)`.

        Raises:
            ValueError: if a feature is not finite. The statistics stay as they were.
        """
        features = checked_features(features)
        classes, rows, counts = np.unique(labels, return_inverse=True, return_counts=True)
        means = np.zeros((len(classes), features.shape[1]))
        np.add.at(means, rows, features)
        means /= counts[:, None]
        self._take(classes, counts, means, features - means[rows])

    def merge(self, other: ClassStatistics) -> None:
        """Takes in statistics of other samples: the same as if all had been counted here.

        Args:
            other: of as many classes and features. It is left as it is.

        Raises:
            ValueError: for other sizes.
        """
        if other.means.shape != self.means.shape:
            raise ValueError(
                "Statistics are merged with those of as many classes and features, "
                f"{self.means.shape}. Received: statistics of {other.means.shape}"
            )
        (classes,) = np.nonzero(other.counts)
        self._take(classes, other.counts[classes], other.means[classes], other.means[:0])
        self.scatter += other.scatter

    def _take(
        self, classes: np.ndarray, counts: np.ndarray, means: np.ndarray, within: np.ndarray
    ) -> None:
        """Moves means and scatter by those of new samples of some classes."""
        shifts = means - self.means[classes]
        before, after = self.counts[classes], self.counts[classes] + counts
        # One product for both parts of the update: within the batch, and of its means.
        between = shifts * np.sqrt(before * counts / after)[:, None]
        deviations = np.concatenate([within, between])
        self.scatter += deviations.T @ deviations
        self.means[classes] += shifts * (counts / after)[:, None]
        self.counts[classes] = after

    @property
    def count(self) -> int:
        """Samples so far."""
        return int(self.counts.sum())

    @property
    def mean(self) -> np.ndarray:
        """Mean of all samples: float64, `(size,)`."""
        return self.counts @ self.means / self.count

    @property
    def covariance(self) -> np.ndarray:
        """The covariance within classes, `scatter / count`: float64, `(size, size)`."""
        return self.scatter / self.count


@dataclass(frozen=True)
class Whitening:
    """A linear map in which the covariance within classes is the identity.

    Attributes:
        mean: what is subtracted first, `(size,)`.
        matrix: W with `W W^T` the precision, the (pseudo-)inverse covariance: `(size, size)`.
            Its last columns are 0 where the covariance has no full rank.
        centres: class means after the map, `(num_classes, size)`; 0 for a class without samples.
        present: which classes have samples, `(num_classes,)`.
        shrinkage: the shrinkage that was used.
    """

    mean: np.ndarray
    matrix: np.ndarray
    centres: np.ndarray
    present: np.ndarray
    shrinkage: float


def whiten(statistics: ClassStatistics, shrinkage: float | None = None) -> Whitening:
    """Turns statistics into the map under which Mahalanobis distances are Euclidean.

    The covariance is `(1 - a) S + a tr(S) / size I`, S that of the statistics. Directions whose
    variance is a rounding error of float32 features have no part in the inverse.

    Args:
        statistics: of at least two samples, of at least two classes.
        shrinkage: a, between 0 and 1. None for 0 where S has full numerical rank, else for the
            estimate of `oas_shrinkage`.

    Raises:
        ValueError: for too few samples or classes, and for features that do not vary within
            classes.
    """
    present = statistics.counts > 0
    if statistics.count < 2 or present.sum() < 2:
        raise ValueError(
            "The statistics need at least two samples, of at least two classes: adapt to training "
            "data of all classes. "
            f"Received: {statistics.count} samples of {int(present.sum())} classes"
        )
    size, covariance = len(statistics.scatter), statistics.covariance
    variances, directions = np.linalg.eigh(covariance)
    squares = statistics.counts @ np.square(statistics.means) / statistics.count
    tolerance = rounding_variance(squares + np.diag(covariance))
    if variances[-1] <= tolerance:
        raise ValueError(
            "The features must vary within classes: adapt to several different samples of each. "
            "Received: "
            f"{statistics.count} samples of {int(present.sum())} classes, each class of equal "
            "features"
        )
    if shrinkage is None:
        full_rank = variances[0] > tolerance
        shrinkage = 0.0 if full_rank else oas_shrinkage(covariance, statistics.count)
    # Shrinking towards a multiple of the identity leaves the directions as they are.
    variances = (1.0 - shrinkage) * variances + shrinkage * np.mean(variances)
    kept = variances > tolerance
    matrix = np.zeros((size, size))
    matrix[:, : int(kept.sum())] = directions[:, kept] / np.sqrt(variances[kept])
    mean = statistics.mean
    centres = np.where(present[:, None], (statistics.means - mean) @ matrix, 0.0)
    return Whitening(mean, matrix, centres, present, float(shrinkage))


def relative_to_all(whitening: Whitening, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The directions in which classes differ, and how narrow they are there.

    In whitened features the covariance of all data is that within classes, 1, and that of the
    class means. Along what is returned it is diagonal; across, both are 1.

    Args:
        whitening: what `whiten` gave.
        counts: samples of each class, `(num_classes,)`.

    Returns:
        orthogonal directions, a column for each, `(size, min(size, num_classes))`, and the
        variances within classes as a fraction of those of all data, between 0 and 1.
    """
    shares = np.sqrt(counts / counts.sum())
    _, spreads, directions = np.linalg.svd(shares[:, None] * whitening.centres, full_matrices=False)
    return directions.T, 1.0 / (1.0 + np.square(spreads))


def rounding_variance(squares: np.ndarray) -> float:
    """A variance that rounding alone may give to a direction of float32 features.

    Args:
        squares: mean square of each feature, `(size,)`: features are rounded relative to them, and
            they can be far larger than the variances.
    """
    return len(squares) * float(np.finfo("float32").eps) ** 2 * float(squares.max())


def oas_shrinkage(covariance: np.ndarray, count: int) -> float:
    """The oracle approximating shrinkage of Chen, Wiesel, Eldar & Hero (2010).

    As scikit-learn computes it: without the factor `2 / size`, which matters only for few
    features.

    Args:
        covariance: the covariance S of centred samples, `(size, size)`.
        count: number of samples.

    Returns:
        a in `(1 - a) S + a tr(S) / size I`, between 0 and 1.
    """
    size = len(covariance)
    mean_square = float(np.mean(np.square(covariance)))
    squared_mean = float(np.trace(covariance) / size) ** 2
    spread = (count + 1) * (mean_square - squared_mean / size)
    return 1.0 if spread <= 0.0 else min((mean_square + squared_mean) / spread, 1.0)
