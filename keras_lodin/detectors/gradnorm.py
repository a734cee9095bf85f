"""GradNorm: the size of the gradient that would make the softmax uniform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "gradnorm",
    description="the last layer's gradient of the divergence from uniform (Huang et al. 2021)",
    position=25,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class GradNormDetector(HeadDetector):
    """Scores by the last layer's gradient of the divergence from uniform (Huang et al. 2021).

        score = || d KL(u || softmax(z)) / dW ||_1 = sum_c |p_c - 1/C| * sum_i |h_i|

    h is what enters the last layer of weights W, z = h W + b, p = softmax(z), and u the uniform
    distribution over the C classes. The gradient is the product of two vectors, so its norm needs
    no backward pass. 0 or more; higher = more in-distribution. No statistics are needed.

    The score grows with the features: where out-of-distribution inputs have larger ones, of
    another brightness for example, it ranks them first.

    Args:
        classifier: see `Detector`; its last layer is linear.
        **kwargs: see `Detector`.

    Raises:
        ValueError: as `HeadDetector` does.

    Example:
    ```python
    detector = keras_lodin.GradNormDetector(classifier)
    detector.calibrate(id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The norm of the gradient, in closed form: float32, `(batch,)`."""
        away = ops.softmax(logits, axis=-1) - 1.0 / self.num_classes
        return ops.sum(ops.abs(away), axis=-1) * ops.sum(ops.abs(features), axis=-1)
