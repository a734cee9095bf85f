"""The distance of features to the decision boundaries, as the last layer draws them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.directions import distance_to_mean, row_of_largest
from keras_lodin.detectors.mean_detector import MeanDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.statistics.class_means import ClassMeans
from keras_lodin.models.linear_head import LinearHead
from keras_lodin.utils.tensor import Tensor

# Of columns that are equal, as a fraction of the largest number in them: what reading leaves.
_ROUNDING = 1e-6


@DETECTORS.register(
    "fdbd",
    description="the distance of features to decision boundaries (Liu & Qin 2024)",
    position=15,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class FDBDDetector(MeanDetector):
    """Scores by the mean distance of features to decision boundaries (Liu & Qin 2024).

        score = mean over c != y of  (z_y - z_c) / |w_y - w_c|  / |h - mu|,    y = argmax z

    `z = W h + b` with a row w_c for each class, and mu the mean of training features, of which
    `adapt` takes the statistics; no labels are needed. At least 0; higher = more in-distribution.
    Between two classes with the same row there is no boundary: such a pair is left out. A saved or
    exported file has `classes^2` numbers more, 4 MB for 1,000 classes.

    See `HeadDetector` for the arguments.

    Raises:
        ValueError: as `HeadDetector` does; by `adapt`, for a last layer whose rows are all equal.

    Example:
    ```python
    detector = keras_lodin.FDBDDetector(classifier)
    detector.adapt(train_images)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    def build_statistics(self) -> None:
        """Creates the mean, and what differences of logits are multiplied by."""
        self._mean = self._add_state("mean", (self.head.size,))
        self._factors = self._add_state("factors", (self.num_classes, self.num_classes))

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The mean distance to boundaries by that to the mean: float32, `(batch,)`."""
        factors = row_of_largest(self._factors, logits)
        margins = ops.max(logits, axis=-1, keepdims=True) - logits
        return ops.sum(margins * factors, axis=-1) / distance_to_mean(features, self._mean)

    def assign_statistics(self, statistics: Mapping[str, ClassMeans]) -> None:
        """The mean, and the distances between the rows of the last layer as they are now."""
        factors = boundary_factors(self.head)
        self._mean.assign(statistics["all"].mean)
        self._factors.assign(factors)


def boundary_factors(head: LinearHead) -> np.ndarray:
    """What a mean of distances to decision boundaries multiplies differences of logits by.

    Returns:
        `1 / |w_y - w_c|` by the number of classes that have a boundary with y, float64,
        `(classes, classes)`; 0 for those that have none.

    Raises:
        ValueError: if no two classes have one.
    """
    rows, bias = np.asarray(head.kernel.T, "float64"), head.bias
    # One class at a time: all differences at once take `features` times as much memory.
    distances = np.stack([np.linalg.norm(rows - row, axis=-1) for row in rows])
    largest = max(np.abs(rows).max(), np.abs(bias).max())
    apart = distances > _ROUNDING * np.sqrt(head.size) * largest
    if not apart.any():
        raise ValueError(
            "The last layer must tell classes apart: there is no decision boundary between equal "
            f"rows of its weights. Received: {len(rows)} classes of equal rows"
        )
    return np.where(apart, 1.0 / np.where(apart, distances, 1.0), 0.0) / apart.sum(
        axis=1, keepdims=True
    ).clip(1)
