"""Keras's label smoothing, for labels that are class numbers."""

from __future__ import annotations

from typing import Any

import keras

from keras_lodin.training.losses.registry import LOSSES
from keras_lodin.training.losses.soft_label_loss import SoftLabelLoss
from keras_lodin.utils.tensor import Tensor


@keras.saving.register_keras_serializable(package="keras_lodin")
class LabelSmoothing(SoftLabelLoss):
    """Cross-entropy with a part of each label spread over all classes (Szegedy et al. 2016).

    It is `keras.losses.CategoricalCrossentropy(label_smoothing=...)`, which wants one-hot labels,
    for class numbers too.

    Args:
        smoothing: the part of the label that is spread evenly, from 0 to below 1.
        from_logits: whether predictions are logits, not probabilities.
        reduction: see `keras.losses.Loss`.
        name: name of the loss.

    Raises:
        ValueError: if `smoothing` is out of range.

    Example:
    ```python
    classifier.compile("sgd", keras_lodin.losses.LabelSmoothing(0.1), metrics=["accuracy"])
    ```
    """

    def __init__(
        self,
        smoothing: float = 0.1,
        from_logits: bool = True,
        reduction: str = "sum_over_batch_size",
        name: str = "label_smoothing",
        **kwargs: Any,
    ) -> None:
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(
                f"`smoothing` must be from 0 to below 1. Received: smoothing={smoothing}"
            )
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.smoothing = float(smoothing)
        self.from_logits = bool(from_logits)

    def cross_entropy(self, labels: Tensor, y_pred: Tensor) -> Tensor:
        """See `SoftLabelLoss`; predictions are logits or probabilities, as `from_logits` says."""
        return keras.losses.categorical_crossentropy(
            labels, y_pred, from_logits=self.from_logits, label_smoothing=self.smoothing
        )

    def get_config(self) -> dict[str, Any]:
        """What makes this loss again."""
        return {
            **super().get_config(),
            "smoothing": self.smoothing,
            "from_logits": self.from_logits,
        }


@LOSSES.register("label_smoothing", description="label_smoothing[:SMOOTHING]", position=3)
def _label_smoothing(value: float | None, from_logits: bool) -> LabelSmoothing:
    return LabelSmoothing(0.1 if value is None else value, from_logits)
