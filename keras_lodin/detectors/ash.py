"""ASH: the energy after the small features are dropped and the others changed."""

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
    shares_of_largest,
)
from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.utils.tensor import Tensor

# The percentile that the paper takes on ImageNet, for each variant.
_PUBLISHED = {"s": 0.9, "b": 0.65, "p": 0.6}


@DETECTORS.register(
    "ash",
    description="the energy of the largest features alone, scaled (Djurisic et al. 2023)",
    position=23,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class ASHDetector(HeadDetector):
    """Scores by the energy of the largest features alone (Djurisic, Bozanic, Ashok & Liu 2023).

        score = logsumexp(W h' + b)

    h' has 0 for all but the k largest features, and for these

    * ASH-S, `variant="s"`: `h e^r`, with r the sum of all of h over the sum of these;
    * ASH-B, `variant="b"`: the sum of all of h, divided by k;
    * ASH-P, `variant="p"`: h.

    k is the number of features less `round(percentile * features)`, at least 1. Unbounded; higher
    = more in-distribution. Of features that tie for the last of the k places, zeros behind a ReLU
    for example, each takes an equal share of it, where published code takes what comes first. No
    statistics are needed.

    The paper's percentiles do not suit every network, least of all one of few features: tune.

    Args:
        classifier: see `Detector`; its last layer is linear, and what enters it is not negative.
        variant: "s", "b" or "p".
        percentile: how much of the features is dropped, a fraction between 0 and 0.98 of whole
            thousandths; 0 changes nothing, which leaves the energy. None for what the paper takes
            on ImageNet: 0.9, 0.65 and 0.6 for S, B and P.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for another `variant` or `percentile` (beyond 0.98, e^r may pass what float32
            holds), features of which more than 1 % is negative, and as `HeadDetector` does.

    Example:
    ```python
    detector = keras_lodin.ASHDetector(classifier, variant="s")
    detector.calibrate(id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    percentile = Setting(
        checked_pruning, candidates=(0.0, 0.3, 0.5, 0.6, 0.65, 0.75, 0.8, 0.85, 0.9, 0.95)
    )

    def __init__(
        self,
        classifier: keras.Model,
        variant: str = "s",
        percentile: float | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(variant, str) or variant not in _PUBLISHED:
            raise ValueError(f'`variant` must be "s", "b" or "p". Received: variant={variant!r}')
        super().__init__(classifier, **kwargs)
        self.refuse_signed_features()
        self._variant = variant
        self.percentile = _PUBLISHED[variant] if percentile is None else percentile

    @property
    def variant(self) -> str:
        """The variant. Fixed: another one is another detector."""
        return self._variant

    def default_settings(self) -> dict[str, Any]:
        """See `TunableDetector.default_settings`; those of the variant."""
        return {"percentile": _PUBLISHED[self.variant]}

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The energy behind the shaped features: float32, `(batch,)`."""
        if settings["percentile"] > 0.0:
            logits = self._shaped_logits(features, settings["percentile"])
        return ops.logsumexp(logits, axis=-1)

    def _shaped_logits(self, features: Tensor, percentile: float) -> Tensor:
        count = kept_count(self.head.size, percentile)
        shares = shares_of_largest(features, count)
        if self.variant == "b":
            mean = ops.sum(features, axis=-1, keepdims=True) / count
            return self.head.logits(shares * mean)
        kept = shares * features
        logits = self.head.logits(kept)
        if self.variant == "p":
            return logits
        factor = ops.exp(scaling_ratio(features, ops.sum(kept, axis=-1)))
        return scaled_logits(logits, factor, self.head.logits(ops.zeros((1, self.head.size))))

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {**super().get_config(), "variant": self.variant}
