"""KL-Matching: how far the softmax is from the mean softmax of the nearest class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops
from scipy.special import softmax

from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.statistics.class_means import ClassMeans
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.tensor import Tensor

# Whose logarithm, -87, float32 holds: for classes to which all of a class's samples give 0.
_SMALLEST = float(np.finfo("float32").tiny)


@DETECTORS.register(
    "kl_matching",
    description="the divergence from the nearest class's mean softmax (Hendrycks et al. 2022)",
    position=24,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class KLMatchingDetector(StatisticsDetector):
    """Scores by the divergence from the nearest class's mean softmax (Hendrycks et al. 2022).

        score = - min_c KL(p || d_c) = - min_c sum_i p_i log(p_i / d_ci),    p = softmax(f)

    d_c is the mean of p over in-distribution samples that are predicted as c. In nats; at most 0;
    higher = more in-distribution. A uniform d_c that a confused class has makes every uncertain
    sample look known.

    `adapt` needs no labels, and data that was not trained on shows better how sure the classifier
    is; the paper takes validation images. A class that is never predicted there is no candidate
    for the nearest; where d_c is below 1e-38, it counts as that. Kept are 4 bytes for each pair of
    classes in every saved and exported file.

    Args:
        classifier: see `Detector`.
        **kwargs: see `Detector`.

    Raises:
        ValueError: as `Detector` does.

    Example:
    ```python
    detector = keras_lodin.KLMatchingDetector(classifier)
    detector.adapt(validation_images)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    needs_labels = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the logarithms of the mean softmax of each class."""
        self._log_means = self._add_state("log_means", (self.num_classes, self.num_classes))
        super().build(input_shape)

    def score(self, forward_pass: ForwardPass) -> Tensor:
        """Minus the smallest divergence: float32, `(batch,)`."""
        # The logarithm of the softmax, not of its values: 0 log 0 is 0 here and NaN there.
        log_softmax = ops.log_softmax(forward_pass.logits, axis=-1)
        softmax = ops.exp(log_softmax)
        negative_entropy = ops.sum(softmax * log_softmax, axis=-1)
        cross = ops.matmul(softmax, ops.transpose(self._log_means))
        return ops.max(cross, axis=-1) - negative_entropy

    def new_statistics(self) -> dict[str, ClassMeans]:
        """The mean softmax of no sample."""
        return {"softmax": ClassMeans(self.num_classes, self.num_classes)}

    def observe(
        self,
        statistics: Mapping[str, ClassMeans],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Takes each softmax into the mean of the class that is predicted, whatever its label."""
        probabilities = softmax(np.asarray(logits, "float64"), axis=-1)
        statistics["softmax"].update(probabilities, logits.argmax(axis=-1))

    def assign_statistics(self, statistics: Mapping[str, ClassMeans]) -> None:
        """Assigns the logarithms of the means."""
        # A class that was never predicted has the mean 0: to no other is a sample farther.
        self._log_means.assign(np.log(np.maximum(statistics["softmax"].means, _SMALLEST)))
