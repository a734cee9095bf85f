"""The Gradient Quotient's forms as pure functions of logits and input gradients.

    GQ = ||d S_y/dx||_1 / sum_{j != y} ||d S_j/dx||_1         (Jevnisek & Avidan 2022, eq. 3)

with S the softmax, y the label, and one value per sample. Computed literally this is 0/0 as soon
as the classifier is confident, because every softmax gradient underflows together. `softmax_norms`
computes the same number from differences of LOGIT gradients, which do not underflow.

Each form gives two norms per sample, the label's and the sum of the others'; `quotient` divides.
"""

from __future__ import annotations

from typing import Any

from keras import ops


def other_classes(logits: Any) -> Any:
    """The classes other than the predicted one, in ascending order.

    Args:
        logits: tensor of shape `(batch, classes)`.

    Returns:
        int32 tensor of shape `(batch, classes - 1)`.
    """
    predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
    slots = ops.arange(logits.shape[-1] - 1, dtype="int32")
    return slots + ops.cast(slots[None, :] >= predicted[:, None], "int32")


def difference_cotangents(logits: Any) -> Any:
    """Cotangents whose vector-Jacobian products are `J_j - J_m`, m being the predicted class.

    Args:
        logits: tensor of shape `(batch, classes)`.

    Returns:
        float32 tensor of shape `(classes - 1, batch, classes)`: `e_j - e_m`, for the other
        classes j in ascending order.
    """
    classes = logits.shape[-1]
    others = ops.one_hot(other_classes(logits), classes, dtype="float32")
    predicted = ops.one_hot(ops.argmax(logits, axis=-1), classes, dtype="float32")
    return ops.transpose(others - predicted[:, None, :], (1, 0, 2))


def class_cotangents(logits: Any) -> Any:
    """Cotangents whose vector-Jacobian products are the logits' gradients, class by class.

    Args:
        logits: tensor of shape `(batch, classes)`.

    Returns:
        float32 tensor of shape `(classes, batch, classes)`.
    """
    identity = ops.eye(logits.shape[-1], dtype="float32")
    return identity[:, None, :] + ops.zeros_like(logits, dtype="float32")[None]


def l1_norms(gradients: Any) -> Any:
    """Sums of absolute values over all input axes: `(count, batch, ...)` to `(count, batch)`."""
    return ops.sum(ops.abs(gradients), axis=tuple(range(2, len(gradients.shape))))


def softmax_norms(logits: Any, differences: Any, labels: Any) -> tuple[Any, Any]:
    """Norms of the poster's form, from differences of logit gradients.

    With m the predicted class as reference, r the softmax over the classes other than m, and
    `B_j = J_j - J_m`, every softmax gradient divided by `1 - S_m` is

        d S_m / (1 - S_m) = -S_m b,  d S_j / (1 - S_m) = r_j (B_j - (1 - S_m) b),  b = sum_k r_k B_k

    and the common divisor cancels in the quotient. Nothing here vanishes for a confident sample,
    right or wrong. (The label cannot be the reference: 0/0 again for a confidently wrong one.)

    Args:
        logits: float32 tensor of shape `(batch, classes)`, at least three classes.
        differences: float32 tensor of shape `(classes - 1, batch, ...)`, the input gradients of
            `difference_cotangents(logits)`.
        labels: integer tensor of shape `(batch,)`.

    Returns:
        `||d S_y||_1 / (1 - S_m)` and `sum_{j != y} ||d S_j||_1 / (1 - S_m)`, two float32 tensors
        of shape `(batch,)`; the first is never larger than the second.
    """
    others = other_classes(logits)
    predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
    other_logits = ops.take_along_axis(logits, others, axis=-1)
    # Relative to the largest: a constant on all logits cancels before anything is rounded.
    other_logits = other_logits - ops.max(logits, axis=-1, keepdims=True)
    margin = -ops.logsumexp(other_logits, axis=-1)
    confidence, rest = ops.sigmoid(margin), ops.sigmoid(-margin)
    weights = ops.transpose(ops.softmax(other_logits, axis=-1))  # (classes - 1, batch)
    input_axes = (1,) * (len(differences.shape) - 2)

    def per_sample(values: Any) -> Any:
        return ops.reshape(values, (*values.shape[:-1], -1, *input_axes))

    mean_difference = ops.sum(per_sample(weights) * differences, axis=0)
    centred = differences - per_sample(rest) * mean_difference
    other_norms = weights * l1_norms(centred)
    predicted_norm = confidence * l1_norms(mean_difference[None])

    labels = ops.cast(labels, "int32")
    is_label = ops.concatenate(
        [ops.equal(predicted, labels)[None], ops.transpose(ops.equal(others, labels[:, None]))]
    )
    return _split(ops.concatenate([predicted_norm, other_norms]), is_label)


def logits_norms(jacobian: Any, labels: Any) -> tuple[Any, Any]:
    """Norms of the logits' own gradients: `||J_y||_1` and `sum_{j != y} ||J_j||_1`.

    Args:
        jacobian: float32 tensor of shape `(classes, batch, ...)`, the input gradients of
            `class_cotangents(logits)`.
        labels: integer tensor of shape `(batch,)`.

    Returns:
        two float32 tensors of shape `(batch,)`.
    """
    classes = ops.arange(jacobian.shape[0], dtype="int32")
    is_label = ops.equal(classes[:, None], ops.cast(labels, "int32")[None, :])
    return _split(l1_norms(jacobian), is_label)


def pooled_cotangents(logits: Any, labels: Any) -> Any:
    """Cotangents of `o_y` and of `sum_{j != y} o_j`, for `pooled_norms`.

    Args:
        logits: tensor of shape `(batch, classes)`.
        labels: integer tensor of shape `(batch,)`.

    Returns:
        float32 tensor of shape `(2, batch, classes)`.
    """
    label = ops.one_hot(ops.cast(labels, "int32"), logits.shape[-1], dtype="float32")
    return ops.stack([label, 1.0 - label])


def pooled_norms(gradients: Any) -> tuple[Any, Any]:
    """Norms as the published code takes them, with the other classes' LOGITS o pooled.

        ||d o_y/dx||_1  and  ||d sum_{j != y} o_j/dx||_1

    The published quotient divides their sums over the batch, not sample by sample.

    Args:
        gradients: float32 tensor of shape `(2, batch, ...)`, the input gradients of
            `pooled_cotangents(logits, labels)`.

    Returns:
        two float32 tensors of shape `(batch,)`.
    """
    norms = l1_norms(gradients)
    return norms[0], norms[1]


def quotient(label_norm: Any, other_norm: Any) -> Any:
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


def _split(norms: Any, is_label: Any) -> tuple[Any, Any]:
    """Sums over classes of the label's norm and of the others', `(classes, batch)` each."""
    return (
        ops.sum(ops.where(is_label, norms, 0.0), axis=0),
        ops.sum(ops.where(is_label, 0.0, norms), axis=0),
    )
