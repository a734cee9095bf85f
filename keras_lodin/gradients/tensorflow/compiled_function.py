"""A function of one batch, compiled once for batches of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_lodin.utils.tensor import Tensor


class CompiledFunction:
    """Runs a function of a batch compiled, and returns numpy arrays.

    It is compiled once for batches of any size, so that the last, smaller batch needs no second
    one. Keras's `predict_on_batch` would trace again for it, and TensorFlow, which counts the
    traces of all of Keras's predict functions together, would then warn a user who did nothing
    wrong.

    Args:
        function: maps one or more arrays of a batch to tensors, in any nesting, each of which has
            a value for each sample, that of the sample alone: JAX fills batches up to one size.
            Floating point inputs reach it as float32.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._compiled = tf.function(function, autograph=False)

    def __call__(self, *inputs: Tensor) -> Any:
        """The function's value for a batch, as numpy arrays."""
        tensors = [_as_tensor(values) for values in inputs]
        signature = [tf.TensorSpec((None, *values.shape[1:]), values.dtype) for values in tensors]
        outputs = self._compiled.get_concrete_function(*signature)(*tensors)
        return keras.tree.map_structure(ops.convert_to_numpy, outputs)


def _as_tensor(values: Tensor) -> Tensor:
    tensor = ops.convert_to_tensor(values)
    return ops.cast(tensor, "float32") if tensor.dtype.is_floating else tensor
