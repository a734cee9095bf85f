"""Classifiers that take integers, run on floats: behind the cast a small step is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_lodin.gradients import backend
from keras_lodin.models.differentiability import gradient_stops, integer_inputs
from keras_lodin.models.one_tensor import taking_a_tensor
from keras_lodin.utils.keras_internals import float_inputs
from keras_lodin.utils.tensor import Tensor


def inputs_to_take_floats(classifier: keras.Model) -> list[keras.KerasTensor]:
    """The inputs of a classifier of pixels as integers that can be given floats just as well.

    Its layers make floats of the pixels, by a `Rescaling` for example. A functional model casts
    what it is given to its input's type first, so that a pixel that moved by half a step is
    rounded back, and nothing has a gradient. Without that cast the network is the same function
    of whole numbers, which is tried, and a differentiable one of those in between.

    Args:
        classifier: a `keras.Model` with one input.

    Returns:
        symbolic tensors, for `keras_internals.float_inputs`. None for a classifier that takes
        floats, or one whose integers are no quantities: tokens, which an `Embedding` looks up.
    """
    casting = integer_inputs(classifier)
    if not casting or gradient_stops(classifier):
        return []
    inputs = _whole_numbers(casting[0])
    as_integers = backend.run_eagerly(lambda: _outputs(classifier, inputs))
    with float_inputs(casting):
        as_floats = backend.run_eagerly(lambda: _outputs(classifier, ops.cast(inputs, "float32")))
    agree = all(
        np.allclose(left, right, rtol=1e-3, atol=1e-3 * float(np.max(np.abs(left))), equal_nan=True)
        for left, right in zip(as_integers, as_floats, strict=True)
    )
    return casting if agree else []


def taking_floats(
    function: Callable[..., Tensor], casting: Sequence[keras.KerasTensor]
) -> Callable[..., Tensor]:
    """A function of a classifier's inputs, which it reaches without being cast to integers.

    Args:
        function: the function.
        casting: what `inputs_to_take_floats` gave.
    """
    return float_inputs(casting)(function) if casting else function


def _whole_numbers(tensor: keras.KerasTensor) -> Tensor:
    """Pixels of every brightness that the type of an input has."""
    sizes = (2, *(32 if size is None else size for size in tensor.shape[1:]))
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    most = {"bool": 1, "int8": 127}.get(dtype, 255)
    values = np.random.default_rng(0).integers(0, most + 1, size=sizes)
    return ops.convert_to_tensor(values, dtype=dtype)


def _outputs(classifier: keras.Model, inputs: Tensor) -> list[np.ndarray]:
    outputs = keras.tree.flatten(taking_a_tensor(classifier)(inputs, training=False))
    return [ops.convert_to_numpy(ops.cast(output, "float32")) for output in outputs]
