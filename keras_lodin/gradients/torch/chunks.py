"""Norms of many input gradients a chunk at a time, each computed again for its derivative."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from keras_lodin.gradients.torch.forward_pass import ForwardPass
from keras_lodin.utils.tensor import Tensor


def norms_in_chunks(
    forward_pass: ForwardPass,
    of_chunk: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    cotangents: Tensor,
    weights: Tensor,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    """See `keras_lodin.gradients.tensorflow.chunks.norms_in_chunks`."""
    total, found = torch.zeros_like(forward_pass.inputs, dtype=torch.float32), []
    for chunk in zip(cotangents.split(chunk_size), weights.split(chunk_size), strict=True):
        norms, partial = checkpoint(of_chunk, *chunk, use_reentrant=False)
        total = total + partial
        found.append(norms)
    return torch.cat(found), total
