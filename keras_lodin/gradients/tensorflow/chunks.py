"""Norms of many input gradients a chunk at a time, each computed again for its derivative."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_lodin.gradients.tensorflow.forward_pass import ForwardPass
from keras_lodin.utils.tensor import Tensor


def norms_in_chunks(
    forward_pass: ForwardPass,
    of_chunk: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    cotangents: Tensor,
    weights: Tensor,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    """What a function gives, joined and added up over chunks; one chunk is in memory at a time.

    Args:
        forward_pass: what `of_chunk` takes input gradients from.
        of_chunk: maps the cotangents and weights of a chunk to norms, float32 of shape
            `(chunk, batch)`, or what else there is of each cotangent and sample, of shape
            `(chunk, batch, ...)`, and a sum over the chunk, float32 of the inputs' shape.
        cotangents: float32 tensor of shape `(count, batch, classes)`.
        weights: float32 tensor of shape `(count, batch)`.
        chunk_size: how many cotangents to take at a time.

    Returns:
        the norms, of shape `(count, batch)`, or what else was given, and the sum of the sums.
    """
    count = cotangents.shape[0]
    chunks = -(-count // chunk_size)
    # Cotangents of zeros fill the last chunk; their norms are cut off again.
    filling = [[0, chunks * chunk_size - count]]
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

    shape: list[tf.TensorShape] = []

    @tf.custom_gradient
    def of_all(cotangents: Tensor, weights: Tensor, *read: Tensor) -> Tensor:
        def forward(index: Tensor, total: Tensor, found: Tensor) -> Tensor:
            norms, partial = of_chunk(chunk_of(cotangents, index), chunk_of(weights, index))
            shape[:] = [norms.shape[1:]]
            return index + 1, total + partial, found.write(index, norms)

        _, total, by_chunk = tf.while_loop(
            lambda index, *_: index < chunks,
            forward,
            (0, tf.zeros_like(forward_pass.inputs, tf.float32), tf.TensorArray(tf.float32, chunks)),
            parallel_iterations=1,
        )
        found = tf.ensure_shape(by_chunk.concat(), (chunks * chunk_size, *shape[0]))

        def backward(found_upstream: Tensor, total_upstream: Tensor) -> Tensor:
            def step(index: Tensor, by_chunk: Tensor, sums: Tensor) -> Tensor:
                with tf.GradientTape() as tape:
                    parts = [chunk_of(cotangents, index), chunk_of(weights, index)]
                    tape.watch([*parts, *read])
                    results = of_chunk(*parts)
                own, *shared = tape.gradient(
                    list(results),
                    [parts, *read],
                    output_gradients=[chunk_of(found_upstream, index), total_upstream],
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

        return (found, total), backward

    found, total = of_all(cotangents, weights, *read)
    return found[:count], total
