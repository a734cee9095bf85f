"""NNGuide: the energy, guided by the nearest training samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import logsumexp

from keras_lodin.detectors.bank_detector import NO_SAMPLE, BankDetector
from keras_lodin.detectors.directions import on_sphere, rows_on_sphere
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "nnguide",
    description="the energy, guided by the nearest training samples (Park et al. 2023)",
    position=20,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class NNGuideDetector(BankDetector):
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

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The guided energy: float32, `(batch,)`."""
        similar = ops.matmul(on_sphere(features), ops.transpose(self._bank)) + self._empty
        largest, _ = ops.top_k(similar, min(settings["k"], self.bank_size))
        # A candidate of `tune` may be more than there are samples.
        held = ops.cast(largest > 0.5 * NO_SAMPLE, "float32")
        guidance = ops.sum(held * largest, axis=-1) / ops.sum(held, axis=-1)
        return ops.logsumexp(logits, axis=-1) * guidance

    def rows_to_keep(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Features, divided by their lengths, times the energy."""
        energies = logsumexp(np.asarray(logits, "float64"), axis=-1, keepdims=True)
        return energies * rows_on_sphere(features)
