"""The length of features outside of the directions in which training features lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.statistics.class_statistics import ClassStatistics, rounding_variance
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.models.linear_head import LinearHead
from keras_lodin.utils.numbers import single_number
from keras_lodin.utils.tensor import Tensor


def _checked_dimension(name: str, value: object) -> int | float | None:
    if value is None:
        return None
    number = single_number(value)
    if number is None or number <= 0.0 or (number >= 1.0 and number != int(number)):
        raise ValueError(
            f"`{name}` must be a whole number of directions, a fraction of the features between 0 "
            f"and 1, or None. Received: {name}={value!r}"
        )
    return int(number) if number >= 1.0 else number


@DETECTORS.register(
    "residual",
    description="the length of features outside of their main directions (Wang et al. 2022)",
    position=17,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class ResidualDetector(StatisticsDetector, HeadDetector):
    """Scores by the length of features in the directions that they hardly have in training.

        score = - | R^T (h - u) |,    u = - W^+ b

    the residual of Wang, Li, Feng & Zhang (2022), of which `VIMDetector` is made. Logits are
    `z = W h + b`, so that u is the shortest h with the logits nearest to 0 (0 without a bias), and
    the columns of R are the eigenvectors of the second moment of training features about u, all
    but the `dimension` that lead. At most 0; higher = more in-distribution.

    `adapt` takes the statistics of training data, without labels, for every `dimension` at once. A
    saved or exported file has `features^2` numbers more. Where training features have no more
    directions than `dimension`, as those of dead units do, the last one that they have counts in
    the residual with all that they do not have: of no direction at all nothing could be told.

    Args:
        classifier: see `Detector`; its last layer is linear.
        dimension: how many directions are left out: a whole number below the number of features,
            or a fraction of it. None for the paper's rule: 1,000 of 2,048 features or more, 512 of
            768 or more, and half of fewer.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for a `dimension` that is neither, or not below the number of features, and as
            `HeadDetector` does; by `adapt`, for features that are all u.

    Example:
    ```python
    detector = keras_lodin.ResidualDetector(classifier)
    detector.adapt(train_images)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    needs_labels = False
    dimension = Setting(
        _checked_dimension, candidates=(None, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
    )

    def __init__(
        self, classifier: keras.Model, dimension: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(classifier, **kwargs)
        self.dimension = dimension

    def check_setting(self, name: str, value: Any) -> None:
        """See `TunableDetector.check_setting`; refuses a `dimension` of all features."""
        if name == "dimension":
            directions_left_out(value, self.head.size)

    def directions_left_out(self, settings: Mapping[str, Any]) -> int:
        """How many directions the residual leaves out."""
        return directions_left_out(settings["dimension"], self.head.size)

    def build_statistics(self) -> None:
        """Creates the origin and the directions, the leading first."""
        size = self.head.size
        self._origin = self._add_state("origin", (size,))
        self._directions = self._add_state("directions", (size, size))
        # The most directions that can be left out.
        self._most = self._add_state("most")

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """Minus the length of the residual: float32, `(batch,)`."""
        return -self.residual(features, settings)

    def residual(self, features: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """`| R^T (h - u) |`: float32, `(batch,)`."""
        left_out = self.directions_left_out(settings)
        along = ops.matmul(features - self._origin, self._directions)
        places = ops.arange(self.head.size, dtype="float32")
        first = ops.minimum(float(left_out), self._most)
        counts = ops.cast(ops.greater_equal(places, first), "float32")
        return ops.sqrt(ops.sum(counts * ops.square(along), axis=-1))

    def new_statistics(self) -> dict[str, Any]:
        """Mean and scatter of all features."""
        return {"all": ClassStatistics(1, self.head.size)}

    def observe(
        self,
        statistics: Mapping[str, Any],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """See `StatisticsDetector.observe`."""
        statistics["all"].update(features[0], np.zeros(len(logits), "int64"))

    def assign_statistics(self, statistics: Mapping[str, Any]) -> None:
        """The origin, and the directions around it."""
        self._assign(*principal_directions(statistics["all"], zero_of_logits(self.head)))

    def _assign(self, origin: np.ndarray, directions: np.ndarray, rank: int) -> None:
        self._origin.assign(origin)
        self._directions.assign(directions)
        self._most.assign(float(rank - 1))


def directions_left_out(dimension: int | float | None, size: int) -> int:
    """The number of directions that `dimension` says, of so many features.

    Raises:
        ValueError: if that is all of them.
    """
    if dimension is None:
        return 1000 if size >= 2048 else 512 if size >= 768 else size // 2
    if dimension >= size:
        raise ValueError(
            "`dimension` must be below the number of features, for there to be a residual: less "
            f"than {size}. Received: dimension={dimension}"
        )
    return dimension if isinstance(dimension, int) else min(round(dimension * size), size - 1)


def zero_of_logits(head: LinearHead) -> np.ndarray:
    """`- W^+ b`, the shortest features with the logits nearest to 0: float64, `(size,)`."""
    rows = np.asarray(head.kernel.T, "float64")
    # Rows that depend on each other do so to float32's digits alone.
    rounding = max(rows.shape) * float(np.finfo("float32").eps)
    return -np.linalg.pinv(rows, rcond=rounding) @ np.asarray(head.bias, "float64")


def principal_directions(
    statistics: ClassStatistics, origin: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """The eigenvectors of the second moment about a point.

    Args:
        statistics: of one class, all samples.
        origin: the point, `(size,)`.

    Returns:
        the point, the eigenvectors as columns, `(size, size)`, the largest eigenvalue first, and
        how many eigenvalues are above what rounding leaves.

    Raises:
        ValueError: if none is, or there is no sample.
    """
    shift = statistics.mean - origin
    moment = statistics.covariance + np.outer(shift, shift)
    variances, directions = np.linalg.eigh(moment)
    squares = np.diag(statistics.covariance) + np.square(statistics.mean)
    rank = int(np.sum(variances > rounding_variance(np.maximum(squares, np.diag(moment)))))
    if rank == 0:
        raise ValueError(
            "The features must not all have logits of 0: adapt to several different samples. "
            f"Received: {statistics.count} samples, each of equal features"
        )
    return origin, directions[:, ::-1], rank
