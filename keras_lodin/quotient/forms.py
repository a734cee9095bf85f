"""The Gradient Quotient's forms as pure functions of logits and norms of input gradients.

    GQ = ||d S_y/dx|| / sum_{j != y} ||d S_j/dx||             (Jevnisek & Avidan 2022, eq. 3)

with S the softmax, y the label, and one value per sample. Computed literally this is 0/0 as soon
as the classifier is confident, because every softmax gradient underflows together. So every one of
them is divided by `1 - S_m`, m being the predicted class. With r the softmax over the classes other
than m, and e_j the j-th unit vector,

    d S_j / (1 - S_m) = r_j * (gradient at the cotangent e_j - e_m - (1 - S_m) (r - e_m)),   j != m
    d S_m / (1 - S_m) = -S_m * (gradient at the cotangent r - e_m)

and the common divisor cancels in the quotient. Nothing here vanishes for a confident sample, right
or wrong. (The label cannot be the reference: 0/0 again for a confidently wrong one.) The cotangents
say where to pull back from; `estimators.py` does it, and `quotient` divides.
"""

from __future__ import annotations

from keras import ops

from keras_lodin.utils.tensor import Tensor


def other_classes(logits: Tensor) -> Tensor:
    """The classes other than the predicted one, in ascending order.

    Args:
        logits: tensor of shape `(batch, classes)`.

    Returns:
        int32 tensor of shape `(batch, classes - 1)`.
    """
    predicted = predicted_class(logits)
    slots = ops.arange(logits.shape[-1] - 1, dtype="int32")
    return slots + ops.cast(slots[None, :] >= predicted[:, None], "int32")


def predicted_class(logits: Tensor) -> Tensor:
    """The class of the largest logit: int32, `(batch,)`."""
    return ops.cast(ops.argmax(logits, axis=-1), "int32")


def confidence_and_rest(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The predicted class's probability, what it leaves, and how the others share that.

    Args:
        logits: float32 tensor of shape `(batch, classes)`.

    Returns:
        `S_m` and `1 - S_m`, float32 of shape `(batch,)`, neither rounded off by the other, and
        `log r`, float32 of shape `(batch, classes)`: the logarithm of the softmax over the classes
        other than m, minus infinity at m.
    """
    is_predicted, others = _others(logits)
    log_sum = ops.logsumexp(others, axis=-1)
    log_shares = ops.where(is_predicted, -float("inf"), others - log_sum[:, None])
    return ops.sigmoid(-log_sum), ops.sigmoid(log_sum), log_shares


def log_rest(logits: Tensor) -> Tensor:
    """The natural logarithm of `1 - S_m`: finite for any finite logits, float32, `(batch,)`."""
    # 1 - S_m is the sigmoid of this sum, whose logarithm does not underflow.
    return ops.log_sigmoid(ops.logsumexp(_others(logits)[1], axis=-1))


def _others(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Where the predicted class is, and the logits without it."""
    is_predicted = is_class(logits, predicted_class(logits))
    # Relative to the largest: a constant on all logits cancels before anything is rounded.
    relative = logits - ops.max(logits, axis=-1, keepdims=True)
    # Not minus infinity: its derivative would be 0 times infinity.
    return is_predicted, ops.where(is_predicted, -1e30, relative)


def softmax_cotangents(logits: Tensor, classes: Tensor) -> Tensor:
    """Cotangents of `d S_j / ((1 - S_m) r_j)`, or for j = m of `-d S_m / ((1 - S_m) S_m)`.

    Args:
        logits: float32 tensor of shape `(batch, classes)`.
        classes: the classes j, int32 tensor of shape `(count, batch)`.

    Returns:
        float32 tensor of shape `(count, batch, classes)`.
    """
    predicted = predicted_class(logits)
    winner = ops.cast(is_class(logits, predicted), "float32")
    _, rest, log_shares = confidence_and_rest(logits)
    towards_others = ops.exp(log_shares) - winner  # r - e_m
    chosen = ops.one_hot(classes, logits.shape[-1], dtype="float32")
    other = chosen - winner - rest[:, None] * towards_others
    return ops.where(ops.equal(classes, predicted)[..., None], towards_others, other)


def softmax_weights(logits: Tensor, classes: Tensor) -> Tensor:
    """What the norms at `softmax_cotangents` are multiplied by: r_j, or S_m for j = m.

    Args:
        logits: float32 tensor of shape `(batch, classes)`.
        classes: the classes j, int32 tensor of shape `(count, batch)`.

    Returns:
        float32 tensor of shape `(count, batch)`.
    """
    confidence, _, log_shares = confidence_and_rest(logits)
    log_share = ops.transpose(ops.take_along_axis(log_shares, ops.transpose(classes), axis=-1))
    is_predicted = ops.equal(classes, predicted_class(logits))
    share = ops.exp(ops.where(is_predicted, 0.0, log_share))
    return ops.where(is_predicted, confidence, share)


def class_cotangents(logits: Tensor, classes: Tensor) -> Tensor:
    """Cotangents whose vector-Jacobian products are the logits' own gradients.

    Args:
        logits: tensor of shape `(batch, classes)`.
        classes: int32 tensor of shape `(count, batch)`.

    Returns:
        float32 tensor of shape `(count, batch, classes)`.
    """
    return ops.one_hot(classes, logits.shape[-1], dtype="float32")


def pooled_cotangents(logits: Tensor, labels: Tensor) -> Tensor:
    """Cotangents of `o_y` and of `sum_{j != y} o_j`: the other classes' LOGITS pooled.

    The published code takes the norms of these two, and divides their sums over the batch.

    Args:
        logits: tensor of shape `(batch, classes)`.
        labels: integer tensor of shape `(batch,)`.

    Returns:
        float32 tensor of shape `(2, batch, classes)`.
    """
    label = ops.one_hot(ops.cast(labels, "int32"), logits.shape[-1], dtype="float32")
    return ops.stack([label, 1.0 - label])


def split_by_label(class_norms: Tensor, classes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The label's norm and the sum of the others'.

    Args:
        class_norms: float32 tensor of shape `(count, batch)`.
        classes: the class of each, int32 tensor of the same shape.
        labels: integer tensor of shape `(batch,)`.

    Returns:
        two float32 tensors of shape `(batch,)`.
    """
    is_label = ops.equal(classes, ops.cast(labels, "int32")[None])
    return (
        ops.sum(ops.where(is_label, class_norms, 0.0), axis=0),
        ops.sum(ops.where(is_label, 0.0, class_norms), axis=0),
    )


def quotient(label_norm: Tensor, other_norm: Tensor) -> Tensor:
    """The label's norm over that of the others; 0, with a zero gradient, where both are zero.

    Both are first divided by their sum, taken as constant. That changes neither the quotient nor
    its derivative, and keeps the squares that the derivative of a division forms inside float32
    whatever the scale of the gradients.

    Args:
        label_norm: float32 tensor.
        other_norm: float32 tensor of the same shape.

    Returns:
        float32 tensor of that shape.
    """
    total = ops.stop_gradient(label_norm + other_norm)
    scale = ops.where(total > 0.0, total, 1.0)
    label, others = label_norm / scale, other_norm / scale
    defined = others > 0.0
    return ops.where(defined, label / ops.where(defined, others, 1.0), 0.0)


def is_class(logits: Tensor, classes: Tensor) -> Tensor:
    """Where a class's own column is: bool, `(batch, classes)`."""
    return ops.equal(ops.arange(logits.shape[-1], dtype="int32")[None], classes[:, None])
