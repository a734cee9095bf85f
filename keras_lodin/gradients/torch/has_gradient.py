"""Whether a function has a gradient, told from running it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import torch
from keras import ops

from keras_lodin.utils.tensor import Tensor

# For a size that is free: no layer of a usual network takes it for too small, and of as many
# samples of random numbers one at least gets through every kind of activation.
_SOME_SIZE = 32


def has_gradient(
    function: Callable[..., Tensor], tensors: Sequence[keras.KerasTensor], watched: Sequence[int]
) -> bool:
    """See `keras_lodin.gradients.tensorflow.has_gradient.has_gradient`.

    PyTorch has no trace to look into: a gradient that is zero at every one of some random inputs
    is taken for zero by its rule.
    """
    draws = np.random.default_rng(0)

    def some(tensor: keras.KerasTensor, is_watched: bool) -> Tensor:
        shape = tuple(_SOME_SIZE if size is None else size for size in tensor.shape)
        if not is_watched and "float" not in tensor.dtype:
            return ops.ones(shape, dtype=tensor.dtype)
        dtype = tensor.dtype if "float" in tensor.dtype else "float32"
        return ops.convert_to_tensor(draws.normal(size=shape), dtype=dtype)

    values = [some(tensor, number in watched) for number, tensor in enumerate(tensors)]
    chosen = [values[number].requires_grad_() for number in watched]
    try:
        with torch.enable_grad():
            output = keras.tree.flatten(function(*values))[0]
        if not output.requires_grad:
            return False
        weights = ops.convert_to_tensor(draws.normal(size=tuple(output.shape)), dtype=output.dtype)
        found = torch.autograd.grad(output, chosen, weights, allow_unused=True)
    except Exception:  # whatever a user's layer raises
        return True
    return any(gradient is not None and bool((gradient != 0).any()) for gradient in found)
