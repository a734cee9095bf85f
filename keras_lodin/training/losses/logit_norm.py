"""Cross-entropy that cannot be lowered by making the logits longer."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_lodin.training.losses.registry import LOSSES
from keras_lodin.training.losses.soft_label_loss import SoftLabelLoss
from keras_lodin.utils.tensor import Tensor

# Added to the squared length, so that logits of length 0 have a gradient.
_TINY = 1e-14


@keras.saving.register_keras_serializable(package="keras_lodin")
class LogitNorm(SoftLabelLoss):
    """Cross-entropy of logits of unit length (Wei et al., ICML 2022, eq. 5).

        loss = cross_entropy(y, softmax(f / (temperature * ||f||_2)))

    Training with the plain cross-entropy makes logits ever longer, on any input. Here only their
    direction counts. At test time the classifier is used as it is: its logits are not divided by
    anything, and every detector can wrap it. Take ODIN or MSP: Energy and MaxLogit look at the
    length of the logits, which this loss leaves free. A ResNet18 on CIFAR-10 had 94.0 and 92.5 %
    AUROC with ODIN and MSP, after plain training 91.1 and 85.1 (docs/full_scale.md, five seeds).

    Args:
        temperature: positive; 0.04 in the paper's CIFAR-10 experiments. To train on from a trained
            network, 1 was better (docs/study.md).
        reduction: see `keras.losses.Loss`.
        name: name of the loss.

    Raises:
        ValueError: unless `temperature` is finite and positive.

    Example:
    ```python
    classifier.compile("sgd", keras_lodin.losses.LogitNorm(), metrics=["accuracy"])
    ```
    """

    def __init__(
        self,
        temperature: float = 0.04,
        reduction: str = "sum_over_batch_size",
        name: str = "logit_norm",
        **kwargs: Any,
    ) -> None:
        if not 0.0 < temperature < math.inf:
            raise ValueError(
                f"`temperature` must be finite and positive. Received: temperature={temperature}"
            )
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.temperature = float(temperature)

    def cross_entropy(self, labels: Tensor, y_pred: Tensor) -> Tensor:
        """See `SoftLabelLoss`; predictions are LOGITS."""
        squares = ops.sum(ops.square(y_pred), axis=-1, keepdims=True)
        directions = y_pred / ops.sqrt(squares + _TINY)
        return keras.losses.categorical_crossentropy(
            labels, directions / self.temperature, from_logits=True
        )

    def get_config(self) -> dict[str, Any]:
        """What makes this loss again."""
        return {**super().get_config(), "temperature": self.temperature}


@LOSSES.register("logit_norm", description="logit_norm[:TEMPERATURE]", position=2)
def _logit_norm(value: float | None, from_logits: bool) -> LogitNorm:
    if not from_logits:
        raise ValueError(
            "logit_norm needs a classifier that returns logits: of probabilities the length of the "
            "logits is no longer known. Received: loss='logit_norm', a classifier that ends in a "
            "softmax"
        )
    return LogitNorm() if value is None else LogitNorm(value)
