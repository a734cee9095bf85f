"""SCALE: the energy after features are scaled up by how much of them the largest have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_lodin.detectors.activation_scaling import (
    checked_pruning,
    kept_count,
    scaled_logits,
    scaling_ratio,
)
from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "scale",
    description="the energy of features scaled by the share of the largest (Xu et al. 2024)",
    position=22,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class ScaleDetector(HeadDetector):
    """Scores by the energy of features that are scaled up (SCALE; Xu, Chen, Franchi & Yao 2024).

        score = logsumexp(W (h e^r) + b),    r = sum of h / sum of the k largest of h

    k is the number of features less `round(percentile * features)`, at least 1. Unbounded; higher
    = more in-distribution. r lies between 1 and `features / k`. Where all features are 0, the
    logits stay as they are. No statistics are needed.

    The paper's percentile does not suit every network: with few features, as of a small ResNet,
    it may turn near out-of-distribution data into what looks most in-distribution. Tune it.

    Args:
        classifier: see `Detector`; its last layer is linear, and what enters it is not negative.
        percentile: how much of the features does not count as large, a fraction between 0 and
            0.98 of whole thousandths. The paper's 0.85 by default; 0 scales nothing, which leaves
            the energy.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for another `percentile` (beyond 0.98, e^r may pass what float32 holds),
            features of which more than 1 % is negative, and as `HeadDetector` does.

    Example:
    ```python
    detector = keras_lodin.ScaleDetector(classifier)
    detector.calibrate(id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    percentile = Setting(
        checked_pruning, candidates=(0.0, 0.3, 0.5, 0.65, 0.75, 0.8, 0.85, 0.9, 0.95)
    )

    def __init__(self, classifier: keras.Model, percentile: float = 0.85, **kwargs: Any) -> None:
        super().__init__(classifier, **kwargs)
        self.refuse_signed_features()
        self.percentile = percentile

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The energy behind the scaled features: float32, `(batch,)`."""
        if settings["percentile"] > 0.0:
            count = kept_count(self.head.size, settings["percentile"])
            largest, _ = ops.top_k(features, count)
            factor = ops.exp(scaling_ratio(features, ops.sum(largest, axis=-1)))
            bias = self.head.logits(ops.zeros((1, self.head.size)))
            logits = scaled_logits(logits, factor, bias)
        return ops.logsumexp(logits, axis=-1)
