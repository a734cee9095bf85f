"""SHE: the product of features with the pattern that is stored of their class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.directions import row_of_largest
from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.statistics.class_means import ClassMeans
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "she",
    description="features times the pattern stored of their class (Zhang et al. 2023)",
    position=21,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class SHEDetector(StatisticsDetector, HeadDetector):
    """Scores by the simplified Hopfield energy (Zhang et al. 2023, "SHE").

        score = h . s_y,    y = argmax z

    h is what enters the last layer, and z the logits. The pattern s_c is the mean of the training
    features of class c that the classifier takes for c; `adapt` stores them. Of a class without a
    correct sample it is the mean of all its samples, and of one without samples that of all data:
    what is predicted as either is judged by less than the paper does. Higher = more
    in-distribution. The score grows with the length of h.

    See `HeadDetector` for the arguments.

    Raises:
        ValueError: as `HeadDetector` does.

    Example:
    ```python
    detector = keras_lodin.SHEDetector(classifier)
    detector.adapt(train_images, train_labels)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False

    def build_statistics(self) -> None:
        """Creates the patterns."""
        self._patterns = self._add_state("patterns", (self.num_classes, self.head.size))

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The product with the pattern of the predicted class: float32, `(batch,)`."""
        pattern = row_of_largest(self._patterns, logits)
        score = ops.sum(features * pattern, axis=-1)
        # NaN logits have no class.
        return ops.where(ops.isnan(ops.sum(logits, axis=-1)), np.nan, score)

    def new_statistics(self) -> dict[str, ClassMeans]:
        """Class means of no sample."""
        return {name: ClassMeans(self.num_classes, self.head.size) for name in ("correct", "every")}

    def observe(
        self,
        statistics: Mapping[str, ClassMeans],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """See `StatisticsDetector.observe`."""
        correct = logits.argmax(axis=-1) == labels
        statistics["every"].update(features[0], labels)
        statistics["correct"].update(features[0][correct], labels[correct])

    def assign_statistics(self, statistics: Mapping[str, ClassMeans]) -> None:
        """Stores the patterns."""
        correct, every = statistics["correct"], statistics["every"]
        own = np.where(correct.counts[:, None] > 0, correct.means, every.means)
        self._patterns.assign(np.where(every.counts[:, None] > 0, own, every.mean))
