"""The maximum logit."""

from __future__ import annotations

import keras
from keras import ops

from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "max_logit",
    description="the largest logit (Hendrycks et al. 2022)",
    position=2,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class MaxLogitDetector(Detector):
    """Scores by the largest logit (Hendrycks et al. 2022).

        score = max_i f_i,    unbounded, higher = more in-distribution

    Unlike the softmax it sees an offset common to all logits.

    See `Detector` for the arguments and the outputs.

    Example:
    ```python
    detector = keras_lodin.MaxLogitDetector(classifier)
    detector.calibrate(id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    def score(self, forward_pass: ForwardPass) -> Tensor:
        """`max_i f_i`: float32, `(batch,)`."""
        return ops.max(forward_pass.logits, axis=-1)
