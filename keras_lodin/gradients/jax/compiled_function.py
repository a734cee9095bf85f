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
        self._variables: list[keras.Variable] | None = None
        self._size = 0
        self._compiled = jax.jit(self._on_values)

    def _on_values(self, values: Sequence[Tensor], inputs: Sequence[Tensor]) -> Any:
        with keras.StatelessScope(list(zip(self._variables or [], values, strict=True))):
            return self._function(*inputs)

    def _read(self, inputs: Sequence[Tensor]) -> list[keras.Variable]:
        """The variables whose values the function reads."""
        scope = InnerScope()

        def traced(*inputs: Tensor) -> Any:
            with scope:
                return self._function(*inputs)

        jax.eval_shape(traced, *inputs)
        return list(scope.read.values())

    def __call__(self, *inputs: Tensor) -> Any:
        """The function's value for a batch, as numpy arrays."""
        arrays = [_as_array(values) for values in inputs]
        count = len(arrays[0])
        self._size = max(self._size, count)
        arrays = [_filled(array, self._size) for array in arrays]
        if self._variables is None:
            self._variables = self._read(arrays)
        outputs = self._compiled([variable.value for variable in self._variables], arrays)
        return keras.tree.map_structure(lambda output: np.asarray(output)[:count], outputs)


def _as_array(values: Tensor) -> np.ndarray:
    array = ops.convert_to_numpy(values)
    if np.issubdtype(array.dtype, np.floating):
        return array.astype("float32", copy=False)
    return array.astype("int32") if array.dtype == np.int64 else array


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
