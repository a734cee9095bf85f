"""The largest softmax probability at the temperature that calibrates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops
from scipy.optimize import brentq
from scipy.special import softmax

from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.statistics.feature_bank import FeatureBank
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.numbers import shortest_float
from keras_lodin.utils.tensor import Tensor

# Bytes of logits that are kept to fit the temperature to.
_SAMPLE_BYTES, _MOST_SAMPLES = 2**28, 50_000
_LOWEST, _HIGHEST = 1e-3, 1e3


@DETECTORS.register(
    "temperature_scaling",
    description="the largest softmax probability at a fitted temperature (Guo et al. 2017)",
    position=13,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class TemperatureScalingDetector(StatisticsDetector):
    """Scores by the largest softmax probability at a fitted temperature (Guo et al. 2017).

        score = max_i softmax(f / T)_i,    between 1 / classes and 1, higher = more in-distribution

    `adapt` finds the T of the largest likelihood of labels, and so a score that says how often
    the class is right. Give it labelled data that the classifier was NOT trained on: of data that
    it was fitted to it is surer than it should be, and T comes out too small; of data without an
    error there is no T at all, and they are refused. Data that `calibrate` gets must be others
    again, as for every detector.

    Up to 50,000 samples (fewer where their logits would take more than 256 MB) are kept until T is
    found: all, or then as many of each class, each weighted by how many it stands for.

    Args:
        classifier: see `Detector`.
        **kwargs: see `Detector`.

    Raises:
        ValueError: as `Detector` does; by `adapt`, for data without labels, and for data whose
            likelihood has no maximum at a T between 0.001 and 1000.

    Example:
    ```python
    detector = keras_lodin.TemperatureScalingDetector(classifier)
    detector.adapt(validation_images, validation_labels)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the temperature."""
        self._temperature = self._add_state("temperature", initializer="ones")
        super().build(input_shape)

    @property
    def temperature(self) -> float:
        """T, as `adapt` found it; 1 before."""
        return shortest_float(self._temperature)

    def score(self, forward_pass: ForwardPass) -> Tensor:
        """`max_i softmax(f / T)_i`: float32, `(batch,)`."""
        return ops.max(ops.softmax(forward_pass.logits / self._temperature, axis=-1), axis=-1)

    def new_statistics(self) -> dict[str, FeatureBank]:
        """A sample of logits, empty yet."""
        capacity = min(_MOST_SAMPLES, max(1, _SAMPLE_BYTES // (4 * self.num_classes)))
        return {"logits": FeatureBank(capacity, self.num_classes)}

    def observe(
        self,
        statistics: Mapping[str, FeatureBank],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Keeps logits, balanced by label."""
        statistics["logits"].update(logits, labels)

    def assign_statistics(self, statistics: Mapping[str, FeatureBank]) -> None:
        """Assigns the temperature of the largest likelihood."""
        bank = statistics["logits"]
        kept = np.bincount(bank.labels, minlength=self.num_classes)
        stands_for = bank.counts / np.maximum(kept, 1)
        self._temperature.assign(
            likeliest_temperature(bank.values, bank.labels, stands_for[bank.labels])
        )


def likeliest_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """The T at which labels are likeliest under `softmax(logits / T)`.

    Args:
        logits: `(samples, classes)`.
        labels: places of the classes, whole numbers `(samples,)`.
        weights: how many samples each stands for, `(samples,)`.

    Returns:
        T, between 0.001 and 1000.

    Raises:
        ValueError: where the likelihood has no maximum there.
    """
    # By 1 / T the negative likelihood is convex, and the softmax the same for shifted logits.
    below = np.asarray(logits, "float64")
    below = below - below.max(axis=-1, keepdims=True)
    own = below[np.arange(len(below)), labels]

    def slope(log_inverse: float) -> float:
        """The derivative of the negative log-likelihood by 1 / T."""
        mean = np.sum(softmax(np.exp(log_inverse) * below, axis=-1) * below, axis=-1)
        return float(np.average(mean - own, weights=weights))

    low, high = -np.log(_HIGHEST), -np.log(_LOWEST)
    if not slope(low) < 0.0 < slope(high):
        right = 100.0 * float(np.average(own == 0.0, weights=weights))
        raise ValueError(
            "The likelihood has no maximum at a temperature between "
            f"{_LOWEST:g} and {_HIGHEST:g}. It needs labelled data that the classifier was not "
            "trained on, with errors among them and fewer of them than by chance. "
            f"Received: {len(below)} samples, of which {right:.4g} % are classified rightly"
        )
    return float(np.exp(-brentq(slope, low, high, xtol=1e-12)))
