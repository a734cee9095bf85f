"""Labels in the one form that a cross-entropy of soft labels takes."""

from __future__ import annotations

from keras import ops

from keras_lodin.utils.tensor import Tensor


def label_distributions(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Rows over the classes, from class numbers or from rows.

    Args:
        y_true: integers of shape `(batch,)` or `(batch, 1)`, or rows of shape `(batch, classes)`,
            one-hot or mixed.
        y_pred: float tensor of shape `(batch, classes)`.

    Returns:
        tensor of the shape and dtype of `y_pred`.

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
        return ops.cast(y_true, y_pred.dtype)
    if len(y_true.shape) > 2 or (len(y_true.shape) == 2 and y_true.shape[-1] != 1):
        raise ValueError(
            f"Labels must be class numbers, (batch,), or rows over the {classes} classes. "
            f"Received: y_true of shape {tuple(y_true.shape)}"
        )
    numbers = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    return ops.one_hot(numbers, classes, dtype=y_pred.dtype)
