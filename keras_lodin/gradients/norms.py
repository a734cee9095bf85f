"""Norms of many input gradients, all at once or a chunk at a time."""

from __future__ import annotations

from keras import ops

from keras_lodin.gradients import ForwardPass, norms_in_chunks
from keras_lodin.utils.tensor import Tensor


def norms(gradients: Tensor, norm: str) -> Tensor:
    """Norms over all input axes: `(count, batch, ...)` to `(count, batch)`."""
    axes = tuple(range(2, len(gradients.shape)))
    if norm == "l1":
        return ops.sum(ops.abs(gradients), axis=axes)
    # Scaled, so that no square leaves float32; and without the infinite slope of a root at zero.
    largest = ops.stop_gradient(ops.max(ops.abs(gradients), axis=axes, keepdims=True))
    scale = ops.where(largest > 0.0, largest, 1.0)
    squares = ops.sum(ops.square(gradients / scale), axis=axes)
    some = squares > 0.0
    root = ops.where(some, ops.sqrt(ops.where(some, squares, 1.0)), 0.0)
    return root * ops.reshape(scale, ops.shape(squares))


def gradient_norms(
    forward_pass: ForwardPass,
    cotangents: Tensor,
    norm: str,
    weights: Tensor = None,
    chunk_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The norms of input gradients, and the norm of their weighted sum.

    All at once, a training step keeps what the backward passes of all classes leave behind, which
    grows with their number. In chunks it keeps that of one chunk: the norms are computed first, and
    the backward passes once more when the norms are differentiated. That costs four passes a
    class instead of three.

    Args:
        forward_pass: of the classifier, over a batch.
        cotangents: float32 tensor of shape `(count, batch, classes)`.
        norm: "l1" or "l2".
        weights: None, or float32 tensor of shape `(count, batch)`.
        chunk_size: None for all at once, or how many cotangents to take at a time.

    Returns:
        float32 tensors of shape `(count, batch)` and `(batch,)`; the second is None without
        weights.
    """

    def of_chunk(cotangents: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        gradients = forward_pass.input_gradients(cotangents)
        return norms(gradients, norm), _weighted_sum(weights, gradients)

    given = ops.zeros_like(cotangents[:, :, 0]) if weights is None else weights
    if chunk_size is not None and chunk_size < cotangents.shape[0]:
        found, total = norms_in_chunks(forward_pass, of_chunk, cotangents, given, chunk_size)
    else:
        found, total = of_chunk(cotangents, given)
    return found, None if weights is None else norms(total[None], norm)[0]


def _weighted_sum(weights: Tensor, gradients: Tensor) -> Tensor:
    """Sum over the first axis: `(count, batch)` and `(count, batch, ...)` to `(batch, ...)`."""
    spread = ops.reshape(weights, (*ops.shape(weights), *[1] * (len(gradients.shape) - 2)))
    return ops.sum(spread * gradients, axis=0)
