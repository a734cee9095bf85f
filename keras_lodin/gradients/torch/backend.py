"""Small things that only a backend can do: see `keras_lodin.gradients.tensorflow.backend`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import keras
import numpy as np
import torch
from keras import ops
from numpy.typing import ArrayLike

from keras_lodin.utils.tensor import Tensor

T = TypeVar("T")

SIZES_FOLLOW_VALUES = True


def eager_value(variable: keras.Variable) -> np.ndarray:
    """The present value of a Keras variable."""
    return ops.convert_to_numpy(variable.value)


def keeping_weights(
    model: keras.Model, check: Callable[[], None]
) -> contextlib.AbstractContextManager[None]:
    """Within it, a method of Keras's may fail, and the model has its weights afterwards."""
    return contextlib.nullcontext()


def run_eagerly(function: Callable[[], T]) -> T:
    """What a function returns: PyTorch runs everything at once."""
    with torch.no_grad():
        return function()


def on_accelerator() -> bool:
    """Whether functions of a batch run on a device with many more cores than a processor."""
    return ops.zeros(()).device.type != "cpu"


def host_function(function: Callable[[np.ndarray], ArrayLike], inputs: Tensor) -> Tensor:
    """A number of each sample that NumPy computes; without a gradient."""
    return ops.convert_to_tensor(np.asarray(function(ops.convert_to_numpy(inputs)), "float32"))


def with_shape(tensor: Tensor, shape: Sequence[int | None]) -> Tensor:
    """The tensor: PyTorch knows every shape."""
    return tensor


def checked_finite(tensor: Tensor, message: str) -> Tensor:
    """A tensor as it is, or an error with a message for NaN and infinite values."""
    if not torch.isfinite(tensor).all():
        raise ValueError(message)
    return tensor


def draw_seed(seed: int, step: Tensor, draw: int) -> Tensor:
    """The seed of one draw of one training step, as Keras's random functions take it."""
    # Keras adds the two numbers up, so that one holds everything.
    mixed = np.random.SeedSequence([seed % 2**64, int(step), draw]).generate_state(1)
    return torch.tensor([int(mixed[0] >> 1), 0], dtype=torch.int32)


def never_empty(batch: Tensor) -> Tensor:
    """The batch: there are no replicas that could get none."""
    return batch


def as_many(outputs: Tensor, batch: Tensor) -> Tensor:
    """The outputs: none were added."""
    return outputs
