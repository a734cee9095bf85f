"""NNGuide: the energy, guided by the nearest training samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import logsumexp

from keras_lodin.detectors.directions import on_sphere, rows_on_sphere
from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.settings import checked_bank_size, checked_count
from keras_lodin.detectors.statistics.feature_bank import FeatureBank, filled_bank
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.utils.tensor import Tensor

# Below every similarity: of a place in the bank that holds no sample.
_NO_SAMPLE = -1e30


@DETECTORS.register(
    "nnguide",
    description="the energy, guided by the nearest training samples (Park et al. 2023)",
    position=20,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class NNGuideDetector(StatisticsDetector, HeadDetector):
    """Scores by the energy times the similarity to training samples (Park, Jung & Teoh 2023).

        score = E * mean of the k largest  E_i <h / |h|, h_i / |h_i|>,    E = logsumexp(z)

    i runs over a bank of training samples, which `adapt` fills, with features h_i and energies
    E_i. Higher = more in-distribution. Samples of the bank find themselves: calibrate on others.

    Energies are taken to be positive, as those of networks trained with cross-entropy nearly
    always are. A sample with E below 0 has a score of the other sign, the lower the more similar
    it is, and training samples with E_i below 0 count against what is similar to them.

    Args:
        classifier: see `Detector`; its last layer is linear.
        k: how many training samples guide; the paper's 10 by default.
        bank_size: the most samples to keep, as many of each class; 4 bytes for each of their
            features in every saved and exported file.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for a `k` or `bank_size` that is no whole number above 0, a bank of more than
            ONNX's 2 GB, and as `HeadDetector` does; by `adapt`, for fewer than k samples.

    Example:
    ```python
    detector = keras_lodin.NNGuideDetector(classifier)
    detector.adapt(train_images, train_labels)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    needs_labels = False
    k = Setting(checked_count, candidates=(1, 2, 5, 10, 20, 50, 100))

    def __init__(
        self, classifier: keras.Model, k: int = 10, bank_size: int = 10_000, **kwargs: Any
    ) -> None:
        self.bank_size = checked_count("bank_size", bank_size)
        super().__init__(classifier, **kwargs)
        self.k = k

    def build_statistics(self) -> None:
        """Creates the bank."""
        shape = checked_bank_size(self.bank_size, self.head.size)
        self._bank = self._add_state("bank", shape)
        self._empty = self._add_state("empty", (self.bank_size,))

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The guided energy: float32, `(batch,)`."""
        similar = ops.matmul(on_sphere(features), ops.transpose(self._bank)) + self._empty
        largest, _ = ops.top_k(similar, min(settings["k"], self.bank_size))
        # A candidate of `tune` may be more than there are samples.
        held = ops.cast(largest > 0.5 * _NO_SAMPLE, "float32")
        guidance = ops.sum(held * largest, axis=-1) / ops.sum(held, axis=-1)
        return ops.logsumexp(logits, axis=-1) * guidance

    def new_statistics(self) -> dict[str, FeatureBank]:
        """An empty bank."""
        return {"bank": FeatureBank(self.bank_size, self.num_classes)}

    def observe(
        self,
        statistics: Mapping[str, FeatureBank],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Keeps features, balanced by label, or by prediction where there are no labels."""
        energies = logsumexp(np.asarray(logits, "float64"), axis=-1, keepdims=True)
        statistics["bank"].update(energies * rows_on_sphere(features[0]), labels)

    def assign_statistics(self, statistics: Mapping[str, FeatureBank]) -> None:
        """Fills the bank."""
        values = statistics["bank"].values
        self._bank.assign(filled_bank(values, self.bank_size, self.k))
        self._empty.assign(np.where(np.arange(self.bank_size) < len(values), 0.0, _NO_SAMPLE))

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {**super().get_config(), "bank_size": self.bank_size}
