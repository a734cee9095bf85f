"""A function of one batch, without gradients around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import torch
from keras import ops

from keras_lodin.utils.tensor import Tensor


class CompiledFunction:
    """See `keras_lodin.gradients.tensorflow.compiled_function.CompiledFunction`.

    PyTorch runs it operation by operation; nothing is compiled.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *inputs: Tensor) -> Any:
        """The function's value for a batch, as numpy arrays."""
        with torch.no_grad():
            outputs = self._function(*map(_as_tensor, inputs))
        return keras.tree.map_structure(ops.convert_to_numpy, outputs)


def _as_tensor(values: Tensor) -> Tensor:
    tensor = ops.convert_to_tensor(values)
    return ops.cast(tensor, "float32") if tensor.is_floating_point() else tensor
