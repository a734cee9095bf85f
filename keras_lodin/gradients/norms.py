"""Norms of many input gradients, all at once or a chunk at a time."""

from __future__ import annotations

import tensorflow as tf
from keras import ops

from keras_lodin.gradients.forward_pass import ForwardPass
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
    if chunk_size is not None and chunk_size < cotangents.shape[0]:
        return _in_chunks(forward_pass, cotangents, norm, weights, chunk_size)
    gradients = forward_pass.input_gradients(cotangents)
    found = norms(gradients, norm)
    if weights is None:
        return found, None
    return found, norms(_weighted_sum(weights, gradients)[None], norm)[0]


def _in_chunks(
    forward_pass: ForwardPass, cotangents: Tensor, norm: str, weights: Tensor, chunk_size: int
) -> tuple[Tensor, Tensor]:
    count = cotangents.shape[0]
    chunks = -(-count // chunk_size)
    # Cotangents of zeros fill the last chunk; their norms are cut off again.
    filling = [[0, chunks * chunk_size - count]]
    has_weights = weights is not None
    if not has_weights:
        weights = tf.zeros(tf.shape(cotangents)[:2])
    cotangents = tf.pad(cotangents, [*filling, [0, 0], [0, 0]])
    weights = tf.pad(weights, [*filling, [0, 0]])
    # What the backward pass reads of the forward pass: activations and kernels.
    read = forward_pass.read_by_gradients((chunk_size, *cotangents.shape[1:]))

    def chunk_of(tensor: Tensor, index: Tensor) -> Tensor:
        # Not `tensor[start:end]`, whose size XLA cannot tell.
        sizes = tf.concat([[chunk_size], tf.shape(tensor)[1:]], 0)
        start = tf.concat([[index * chunk_size], tf.zeros_like(sizes[1:])], 0)
        part = tf.slice(tensor, start, sizes)
        return tf.ensure_shape(part, (chunk_size, *tensor.shape[1:]))

    @tf.custom_gradient
    def norms_of(cotangents: Tensor, weights: Tensor, *read: Tensor) -> Tensor:
        def forward(index: Tensor, total: Tensor, found: Tensor) -> Tensor:
            gradients = forward_pass.input_gradients(chunk_of(cotangents, index))
            total += _weighted_sum(chunk_of(weights, index), gradients)
            return index + 1, total, found.write(index, norms(gradients, norm))

        zeros = tf.zeros_like(forward_pass.inputs, tf.float32)
        norms_by_chunk = tf.TensorArray(tf.float32, chunks)
        _, total, norms_by_chunk = tf.while_loop(
            lambda index, *_: index < chunks,
            forward,
            (0, zeros, norms_by_chunk),
            parallel_iterations=1,
        )
        found = norms_by_chunk.concat()
        found = tf.ensure_shape(found, (chunks * chunk_size, *cotangents.shape[1:2]))
        total_norm = norms(total[None], norm)[0]

        def backward(found_upstream: Tensor, total_upstream: Tensor) -> Tensor:
            with tf.GradientTape() as tape:
                tape.watch(total)
                total_norm = norms(total[None], norm)[0]
            direction = tape.gradient(total_norm, total, output_gradients=total_upstream)

            def step(index: Tensor, by_chunk: Tensor, sums: Tensor) -> Tensor:
                with tf.GradientTape() as tape:
                    parts = [chunk_of(cotangents, index), chunk_of(weights, index)]
                    tape.watch([*parts, *read])
                    gradients = forward_pass.input_gradients(parts[0])
                    found = norms(gradients, norm)
                    partial = _weighted_sum(parts[1], gradients)
                own, *shared = tape.gradient(
                    [found, partial],
                    [parts, *read],
                    output_gradients=[chunk_of(found_upstream, index), direction],
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                by_chunk = [
                    array.write(index, value) for array, value in zip(by_chunk, own, strict=True)
                ]
                return index + 1, by_chunk, [a + b for a, b in zip(sums, shared, strict=True)]

            _, by_chunk, sums = tf.while_loop(
                lambda index, *_: index < chunks,
                step,
                (
                    0,
                    [tf.TensorArray(tf.float32, chunks) for _ in range(2)],
                    [tf.zeros_like(tensor) for tensor in read],
                ),
                parallel_iterations=1,
            )
            return (*(array.concat() for array in by_chunk), *sums)

        return (found, total_norm), backward

    found, total_norm = norms_of(cotangents, weights, *read)
    return found[:count], total_norm if has_weights else None


def _weighted_sum(weights: Tensor, gradients: Tensor) -> Tensor:
    """Sum over the first axis: `(count, batch)` and `(count, batch, ...)` to `(batch, ...)`."""
    rank = len(gradients.shape)
    weights = tf.reshape(weights, (*tf.unstack(tf.shape(weights)), *[1] * (rank - 2)))
    return tf.reduce_sum(weights * gradients, axis=0)
