"""Norms of many input gradients a chunk at a time, each computed again for its derivative."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from keras_lodin.gradients.jax.forward_pass import ForwardPass
from keras_lodin.utils.tensor import Tensor


def norms_in_chunks(
    forward_pass: ForwardPass,
    of_chunk: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    cotangents: Tensor,
    weights: Tensor,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    """See `keras_lodin.gradients.tensorflow.chunks.norms_in_chunks`."""
    count = len(cotangents)
    chunks = -(-count // chunk_size)

    def cut(array: Tensor) -> Tensor:
        # Cotangents of zeros fill the last chunk; their norms are cut off again.
        filling = [(0, chunks * chunk_size - count), *[(0, 0)] * (array.ndim - 1)]
        return jnp.pad(array, filling).reshape(chunks, chunk_size, *array.shape[1:])

    def step(total: Tensor, chunk: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        norms, partial = jax.checkpoint(of_chunk)(*chunk)
        return total + partial, norms

    zeros = jnp.zeros(forward_pass.inputs.shape)
    total, found = jax.lax.scan(step, zeros, (cut(cotangents), cut(weights)))
    return found.reshape(-1, *found.shape[2:])[:count], total
