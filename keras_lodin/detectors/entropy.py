"""The (negative) entropy of the softmax."""

from __future__ import annotations

import keras
from keras import ops

from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register("entropy", description="the negative entropy of the softmax", position=11)
@keras.saving.register_keras_serializable(package="keras_lodin")
class EntropyDetector(Detector):
    """Scores by the negative entropy of the softmax, in nats.

        score = sum_i p_i log p_i,    p = softmax(f)

    Between `-log(classes)`, for a uniform softmax, and 0; higher = more in-distribution.

    See `Detector` for the arguments and the outputs.

    Example:
    ```python
    detector = keras_lodin.EntropyDetector(classifier)
    detector.calibrate(id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False

    def score(self, forward_pass: ForwardPass) -> Tensor:
        """`sum_i p_i log p_i`: float32, `(batch,)`."""
        # The logarithm of the softmax, not of its values: 0 log 0 is 0 here and NaN there.
        log_softmax = ops.log_softmax(forward_pass.logits, axis=-1)
        return ops.sum(ops.exp(log_softmax) * log_softmax, axis=-1)
