"""Losses of soft labels, for labels that are class numbers too."""

from __future__ import annotations

import abc

import keras
from keras import ops

from keras_lodin.utils.tensor import Tensor


class SoftLabelLoss(keras.losses.Loss):
    """Base class of losses whose labels are distributions, one-hot or mixed, or class numbers."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each sample.

        Args:
            y_true: integers of shape `(batch,)` or `(batch, 1)`, or rows of shape
                `(batch, classes)`, one-hot or mixed.
            y_pred: float tensor of shape `(batch, classes)`.

        Returns:
            float tensor of shape `(batch,)`; NaN for a class number that no prediction stands for.

        Raises:
            ValueError: for predictions of another shape, or rows over another number of classes.
        """
        if len(y_pred.shape) != 2 or y_pred.shape[-1] is None:
            raise ValueError(
                "Predictions must have the shape (batch, classes). "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        classes = int(y_pred.shape[-1])
        if len(y_true.shape) == 2 and y_true.shape[-1] == classes and classes > 1:
            return self.cross_entropy(ops.cast(y_true, y_pred.dtype), y_pred)
        if len(y_true.shape) > 2 or (len(y_true.shape) == 2 and y_true.shape[-1] != 1):
            raise ValueError(
                f"Labels must be class numbers, (batch,), or rows over the {classes} classes. "
                f"Received: y_true of shape {tuple(y_true.shape)}"
            )
        numbers = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        # Another number's row would be all zeros, or an error of PyTorch's.
        is_class = ops.logical_and(numbers >= 0, numbers < classes)
        rows = ops.one_hot(ops.where(is_class, numbers, 0), classes, dtype=y_pred.dtype)
        return ops.where(is_class, self.cross_entropy(rows, y_pred), float("nan"))

    @abc.abstractmethod
    def cross_entropy(self, labels: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each sample, from labels of the shape and dtype of `y_pred`."""
