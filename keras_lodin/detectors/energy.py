"""The (negative) free energy of the logits."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.settings import checked_temperature
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register("energy", description="the logits' logsumexp (Liu et al. 2020)", position=3)
@keras.saving.register_keras_serializable(package="keras_lodin")
class EnergyDetector(Detector):
    """Scores by the negative free energy of the logits (Liu et al. 2020).

        score = T * logsumexp(f / T),    unbounded, higher = more in-distribution

    Args:
        classifier: see `Detector`.
        temperature: T, positive. As T goes to 0 the score becomes the maximum logit.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for a temperature that is not positive, and as `Detector` does.

    Example:
    ```python
    detector = keras_lodin.EnergyDetector(classifier, temperature=1.0)
    detector.calibrate(id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    def __init__(self, classifier: keras.Model, temperature: float = 1.0, **kwargs: Any) -> None:
        super().__init__(classifier, **kwargs)
        self._temperature = checked_temperature(temperature)

    @property
    def temperature(self) -> float:
        """T. Fixed: a compiled `predict` would not see a change."""
        return self._temperature

    def score(self, forward_pass: ForwardPass) -> Tensor:
        """`T * logsumexp(f / T)`: float32, `(batch,)`."""
        return self.temperature * ops.logsumexp(forward_pass.logits / self.temperature, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {**super().get_config(), "temperature": self.temperature}
