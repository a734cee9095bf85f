"""The distance to the k-th nearest training sample, on the unit sphere of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.bank_detector import BankDetector
from keras_lodin.detectors.directions import on_sphere, rows_on_sphere
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "knn",
    description="the distance to the k-th nearest training sample (Sun et al. 2022)",
    position=14,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class KNNDetector(BankDetector):
    """Scores by the distance to the k-th nearest training sample (Sun, Ming, Zhu & Li 2022).

        score = - || h / |h| - b_(k) ||,    b_(k) the k-th nearest of the bank

    The bank holds the features h of training samples, divided by their lengths; `adapt` fills it.
    Between -2 and 0; higher = more in-distribution. Samples of the bank find themselves: calibrate
    on others.

    Args:
        classifier: see `Detector`; its last layer is linear.
        k: which neighbour counts. The paper takes 50 of CIFAR-10's 50,000 training images, 200 of
            CIFAR-100's and 1,000 of ImageNet's 1.3 million: about a thousandth of the bank. Of a
            bank with fewer samples the farthest counts.
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

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """Minus the distance to the k-th nearest of the bank: float32, `(batch,)`."""
        unit = on_sphere(features)
        nearness = ops.matmul(unit, ops.transpose(self._bank)) + self._empty
        _, places = ops.top_k(nearness, min(settings["k"], self.bank_size))
        # A candidate of `tune` may be more than there are samples: then the farthest counts.
        held = ops.sum(ops.cast(ops.equal(self._empty, 0.0), "int32"))
        last = ops.minimum(held, places.shape[-1]) - 1
        neighbour = ops.take(self._bank, ops.take(places, last, axis=-1), axis=0)
        # Not from the product: sqrt(2 - 2 s) loses a small distance.
        return -ops.sqrt(ops.sum(ops.square(unit - neighbour), axis=-1))

    def rows_to_keep(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Features, divided by their lengths."""
        return rows_on_sphere(features)
