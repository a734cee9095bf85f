"""Norms of many input gradients, all at once or a chunk at a time, or from those of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_lodin.gradients import ForwardPass, backend, norms_in_chunks
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
        return norms(gradients, norm), weighted_sum(weights, gradients)

    given = ops.zeros_like(cotangents[:, :, 0]) if weights is None else weights
    if chunk_size is not None and chunk_size < cotangents.shape[0]:
        found, total = norms_in_chunks(forward_pass, of_chunk, cotangents, given, chunk_size)
    else:
        found, total = of_chunk(cotangents, given)
    return found, None if weights is None else norms(total[None], norm)[0]


def gradients_kept(
    forward_pass: ForwardPass, cotangents: Tensor, chunk_size: int | None = None
) -> Tensor:
    """Many input gradients; in chunks, what the backward passes leave behind is that of one chunk.

    Args:
        forward_pass, cotangents, chunk_size: as of `gradient_norms`.

    Returns:
        float32 tensor of shape `(count, *inputs.shape)`.
    """
    count = cotangents.shape[0]
    if chunk_size is None or chunk_size >= count:
        return forward_pass.input_gradients(cotangents)
    nothing = ops.zeros_like(forward_pass.inputs, dtype="float32")
    weights = ops.zeros_like(cotangents[:, :, 0])
    gradients, _ = norms_in_chunks(
        forward_pass,
        lambda chunk, _: (forward_pass.input_gradients(chunk), nothing),
        cotangents,
        weights,
        chunk_size,
    )
    return backend.with_shape(gradients, (count, *forward_pass.inputs.shape))


def norms_of_combinations(
    gradients: Tensor, coefficients: Tensor, added: Tensor, norm: str
) -> Tensor:
    """Norms of many linear combinations of a few input gradients.

    As many combinations as there are gradients are in memory at a time, and the same ones once more
    when the norms are differentiated.

    Args:
        gradients: float32 tensor of shape `(size, batch, ...)`.
        coefficients: float32 tensor of shape `(count, size)`.
        added: what is added to every combination, float32 tensor of shape `(batch, ...)`.
        norm: "l1" or "l2".

    Returns:
        float32 tensor of shape `(count, batch)`.
    """
    size, count = gradients.shape[0], coefficients.shape[0]
    chunks = -(-count // size)
    shape = ops.shape(gradients)
    # Of one axis for everything that a norm goes over.
    gradients = ops.reshape(gradients, (size, shape[1], -1))
    added = ops.reshape(added, (shape[1], -1))

    def cut(tensor: Tensor) -> Tensor:
        filled = ops.pad(tensor, [(0, chunks * size - count), (0, 0)])
        return ops.reshape(filled, (chunks, size, *ops.shape(tensor)[1:]))

    def combined(coefficients: Tensor, gradients: Tensor, added: Tensor) -> Tensor:
        return _product(coefficients, gradients) + added[None]

    @ops.custom_gradient
    def of_all(gradients: Tensor, coefficients: Tensor, added: Tensor) -> Any:
        def of_chunk(chunk: Tensor) -> Tensor:
            return norms(combined(chunk, gradients, added), norm)

        def backward(*arguments: Tensor, upstream: Tensor = None) -> tuple[Tensor, ...]:
            given, weights = cut(coefficients), cut(arguments[0] if upstream is None else upstream)

            def step(number: Tensor, sums: Sequence[Tensor]) -> list[Tensor]:
                chunk, weight = (ops.take(whole, number, axis=0) for whole in (given, weights))
                directions = _directions(combined(chunk, gradients, added), norm)
                pulled = weight[..., None] * directions
                by_chunk = ops.tensordot(pulled, gradients, axes=((1, 2), (1, 2)))
                here = ops.cast(ops.equal(ops.arange(chunks), number), by_chunk.dtype)
                more = (
                    _product(ops.transpose(chunk), pulled),
                    here[:, None, None] * by_chunk,
                    ops.sum(pulled, axis=0),
                )
                return [one + another for one, another in zip(sums, more, strict=True)]

            start = [ops.zeros_like(one) for one in (gradients, given, added)]
            for_gradients, by_chunk, for_added = ops.fori_loop(0, chunks, step, start)
            return for_gradients, ops.reshape(by_chunk, (-1, size))[:count], for_added

        found = ops.map(of_chunk, cut(coefficients))
        return ops.reshape(found, (chunks * size, -1))[:count], backward

    return of_all(gradients, coefficients, added)


def _product(matrix: Tensor, gradients: Tensor) -> Tensor:
    """A matrix of shape `(count, size)` times gradients of shape `(size, batch, pixels)`."""
    return ops.tensordot(matrix, gradients, axes=1)


def _directions(gradients: Tensor, norm: str) -> Tensor:
    """The derivative of each gradient's norm by the gradient; 0 for a gradient of 0."""
    if norm == "l1":
        return ops.sign(gradients)
    lengths = norms(gradients, norm)[..., None]
    return gradients / ops.where(lengths > 0.0, lengths, 1.0)


def weighted_sum(weights: Tensor, gradients: Tensor) -> Tensor:
    """Sum over the first axis: `(count, batch)` and `(count, batch, ...)` to `(batch, ...)`."""
    spread = ops.reshape(weights, (*ops.shape(weights), *[1] * (len(gradients.shape) - 2)))
    return ops.sum(spread * gradients, axis=0)
