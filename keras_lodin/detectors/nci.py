"""NCI: how far features lie along the weights of their class, and how long they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.directions import distance_to_mean, row_of_largest
from keras_lodin.detectors.mean_detector import MeanDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.statistics.class_means import ClassMeans
from keras_lodin.utils.numbers import checked_number
from keras_lodin.utils.tensor import Tensor


def _checked_alpha(name: str, value: Any) -> float:
    return checked_number(name, value, lambda number: number >= 0.0, "a number, 0 or more")


@DETECTORS.register(
    "nci",
    description="features along the weights of their class, and their length (Liu & Qin 2025)",
    position=19,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class NCIDetector(MeanDetector):
    """Scores by the nearness of features to the weights of their class (Liu & Qin 2025).

        score = w_y . (h - mu) / |h - mu| + alpha |h|_1,    y = argmax z

    `z = W h + b` with a row w_c for each class, and mu the mean of training features, of which
    `adapt` takes the statistics; no labels are needed. In networks that were trained to the end,
    training features lie along the weights of their class ("neural collapse"). The length of w_y
    counts. Higher = more in-distribution.

    Args:
        classifier: see `Detector`; its last layer is linear.
        alpha: the weight of the sum of absolute features, 0 to leave it out. It is in units of the
            features and must suit them: the published values are around the default.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for an `alpha` below 0, and as `HeadDetector` does.

    Example:
    ```python
    detector = keras_lodin.NCIDetector(classifier)
    detector.adapt(train_images)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    alpha = Setting(_checked_alpha, candidates=(0.0, 1e-5, 1e-4, 1e-3, 1e-2, 0.1))

    def __init__(self, classifier: keras.Model, alpha: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(classifier, **kwargs)
        self.alpha = alpha

    def build_statistics(self) -> None:
        """Creates the mean of features, and its logits."""
        self._mean = self._add_state("mean", (self.head.size,))
        self._mean_logits = self._add_state("mean_logits", (self.num_classes, 1))

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """Nearness to the weights and the length: float32, `(batch,)`."""
        # w_y . (h - mu) is a difference of logits: the weights are in the file once.
        of_mean = row_of_largest(self._mean_logits, logits)[:, 0]
        along = ops.max(logits, axis=-1) - of_mean
        nearness = along / distance_to_mean(features, self._mean)
        return nearness + settings["alpha"] * ops.sum(ops.abs(features), axis=-1)

    def assign_statistics(self, statistics: Mapping[str, ClassMeans]) -> None:
        """The mean, and the logits that the last layer gives it now."""
        mean = statistics["all"].mean
        kernel, bias = (np.asarray(part, "float64") for part in (self.head.kernel, self.head.bias))
        self._mean.assign(mean)
        self._mean_logits.assign((mean @ kernel + bias)[:, None])
