"""The distance to the k-th nearest training sample, on the unit sphere of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.directions import on_sphere, rows_on_sphere
from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.settings import checked_bank_size, checked_count
from keras_lodin.detectors.statistics.feature_bank import FeatureBank, filled_bank
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "knn",
    description="the distance to the k-th nearest training sample (Sun et al. 2022)",
    position=14,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class KNNDetector(StatisticsDetector, HeadDetector):
    """Scores by the distance to the k-th nearest training sample (Sun, Ming, Zhu & Li 2022).

        score = - || h / |h| - b_(k) ||,    b_(k) the k-th nearest of the bank

    The bank holds the features h of training samples, divided by their lengths; `adapt` fills it.
    Between -2 and 0; higher = more in-distribution. Samples of the bank find themselves: calibrate
    on others.

    Args:
        classifier: see `Detector`; its last layer is linear.
        k: which neighbour counts. The paper takes 50 of CIFAR-10's 50,000 training images, 200 of
            CIFAR-100's and 1,000 of ImageNet's 1.3 million: about a thousandth of the bank.
        bank_size: the most samples to keep, as many of each class; 4 bytes for each of their
            features in every saved and exported file.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for a `k` or `bank_size` that is no whole number above 0, a bank of more than
            ONNX's 2 GB, and as `HeadDetector` does; by `adapt`, for fewer than k samples.

    Example:
    ```python
    detector = keras_lodin.KNNDetector(classifier)
    detector.adapt(train_images, train_labels)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    k = Setting(checked_count, candidates=(1, 2, 5, 10, 20, 50, 100))
    needs_labels = False

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
        # What is added to similarities: minus 4 for a place that holds no sample, below them all.
        self._empty = self._add_state("empty", (self.bank_size,))

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """Minus the distance to the k-th nearest of the bank: float32, `(batch,)`."""
        unit = on_sphere(features)
        nearness = ops.matmul(unit, ops.transpose(self._bank)) + self._empty
        _, places = ops.top_k(nearness, min(settings["k"], self.bank_size))
        neighbour = ops.take(self._bank, places[:, -1], axis=0)
        # Not from the product: sqrt(2 - 2 s) loses a small distance.
        return -ops.sqrt(ops.sum(ops.square(unit - neighbour), axis=-1))

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
        statistics["bank"].update(rows_on_sphere(features[0]), labels)

    def assign_statistics(self, statistics: Mapping[str, FeatureBank]) -> None:
        """Fills the bank."""
        values = statistics["bank"].values
        self._bank.assign(filled_bank(values, self.bank_size, self.k))
        self._empty.assign(np.where(np.arange(self.bank_size) < len(values), 0.0, -4.0))

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {**super().get_config(), "bank_size": self.bank_size}
