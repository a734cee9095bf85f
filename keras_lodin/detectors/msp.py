"""The maximum softmax probability, the baseline of the field."""

from __future__ import annotations

import keras
from keras import ops

from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "msp",
    description="the largest softmax probability (Hendrycks & Gimpel 2017)",
    position=1,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class MSPDetector(Detector):
    """Scores by the maximum softmax probability (Hendrycks & Gimpel 2017).

        score = max_i softmax(f)_i,    between 1 / classes and 1, higher = more in-distribution

    Float32 rounds the score of a very confident sample to 1, where samples can no longer be told
    apart; `MaxLogitDetector` has no such ceiling.

    See `Detector` for the arguments and the outputs.

    Example:
    ```python
    detector = keras_lodin.MSPDetector(classifier)
    detector.calibrate(id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    def score(self, forward_pass: ForwardPass) -> Tensor:
        """`max_i softmax(f)_i`: float32, `(batch,)`."""
        return ops.max(ops.softmax(forward_pass.logits, axis=-1), axis=-1)
