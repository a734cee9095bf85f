"""GEN: the generalized entropy of the largest softmax probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.settings import checked_count, checked_fraction
from keras_lodin.detectors.tunable_detector import TunableDetector
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "gen",
    description="the generalized entropy of the largest softmax probabilities (Liu et al. 2023)",
    position=10,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class GENDetector(TunableDetector):
    """Scores by the generalized entropy of the largest probabilities (Liu, Lochman & Zach 2023).

        score = - sum over the M largest p_i of p_i^gamma (1 - p_i)^gamma,    p = softmax(f)

    At most 0; higher = more in-distribution. A small gamma makes small probabilities count.

    Args:
        classifier: see `Detector`.
        gamma: the exponent, between 0 and 1. The paper's 0.1 by default.
        top: M, how many of the largest probabilities count. The paper's 100 by default, or all
            classes where there are fewer.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for a `gamma` outside of 0 to 1, a `top` that is no whole number above 0, and
            as `Detector` does.

    Example:
    ```python
    detector = keras_lodin.GENDetector(classifier)
    detector.calibrate(id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    gamma = Setting(checked_fraction, candidates=(0.01, 0.05, 0.1, 0.2, 0.5, 1.0))
    top = Setting(checked_count, candidates=(10, 100, 1000))

    def __init__(
        self, classifier: keras.Model, gamma: float = 0.1, top: int = 100, **kwargs: Any
    ) -> None:
        super().__init__(classifier, **kwargs)
        self.gamma, self.top = gamma, top

    def score_with(self, forward_pass: ForwardPass, settings: Mapping[str, Any]) -> Tensor:
        """The negative generalized entropy: float32, `(batch,)`."""
        count = min(settings["top"], self.num_classes)
        largest, _ = ops.top_k(forward_pass.logits, self.num_classes)
        log_softmax = ops.log_softmax(largest, axis=-1)
        # log(1 - p) is 0 or minus infinity where p rounds to 0 or 1. Of the largest it is the
        # logarithm of what the others add up to; of any other, p is at most one half.
        rest = ops.logsumexp(log_softmax[:, 1:], axis=-1, keepdims=True)
        others = ops.log1p(-ops.minimum(ops.exp(log_softmax[:, 1:]), 0.5))
        log_complement = ops.concatenate([rest, others], axis=-1)
        terms = ops.exp(settings["gamma"] * (log_softmax + log_complement))
        return -ops.sum(terms[:, :count], axis=-1)
