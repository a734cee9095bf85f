"""A function of one batch, compiled once for batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras
import numpy as np
from keras import ops

from keras_lodin.gradients.jax.scopes import InnerScope
from keras_lodin.utils.tensor import Tensor


class CompiledFunction:
    """See `keras_lodin.gradients.tensorflow.compiled_function.CompiledFunction`.

    XLA compiles for one size, so that a batch smaller than the largest so far is filled up with
    copies of its last sample, and what belongs to them is cut off. The weights that the function
    reads are arguments of the compiled one, which follows when they change.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._size = 0
        self._read: list[keras.Variable] | None = None
        self._assigned: list[keras.Variable] = []
        self._compiled = jax.jit(self._on_values)

    def __call__(self, *inputs: Tensor) -> Any:
        """The function's value for a batch, as numpy arrays."""
        arrays = [_as_array(values) for values in inputs]
        count = len(arrays[0])
        self._size = max(self._size, count)
        arrays = [_filled(array, self._size) for array in arrays]
        if self._read is None:
            self._find_variables(arrays)
        read = [variable.value for variable in self._read or []]
        outputs, assigned = self._compiled(read, arrays)
        for variable, value in zip(self._assigned, assigned, strict=True):
            variable.assign(value)
        return keras.tree.map_structure(lambda output: np.asarray(output)[:count], outputs)

    def _on_values(self, read: Sequence[Tensor], inputs: Sequence[Tensor]) -> Any:
        with keras.StatelessScope(list(zip(self._read or [], read, strict=True))) as scope:
            outputs = self._function(*inputs)
        return outputs, [scope.get_current_value(variable) for variable in self._assigned]

    def _find_variables(self, inputs: Sequence[Tensor]) -> None:
        """Runs the function for the variables that it reads and assigns, random states say."""
        scope = InnerScope()

        def traced(*inputs: Tensor) -> Any:
            with scope:
                return self._function(*inputs)

        jax.eval_shape(traced, *inputs)
        self._read, self._assigned = scope.read, scope.assigned


def _as_array(values: Tensor) -> np.ndarray:
    array = ops.convert_to_numpy(values)
    if np.issubdtype(array.dtype, np.floating):
        return array.astype("float32", copy=False)
    return array.astype("int32") if array.dtype == np.int64 else array


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
