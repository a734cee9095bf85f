"""Small things that only a backend can do: see `keras_lodin.gradients.tensorflow.backend`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_lodin.utils import keras_internals
from keras_lodin.utils.tensor import Tensor

T = TypeVar("T")

SIZES_FOLLOW_VALUES = False
# The models that Keras trains, evaluates or predicts with just now.
_KEPT: list[keras.Model] = []


def eager_value(variable: keras.Variable) -> np.ndarray | None:
    """The present value of a Keras variable, in eager mode and while a function is traced.

    None while `keeping_weights` lasts and Keras has taken it out of the variable.
    """
    with jax.ensure_compile_time_eval():
        return keras_internals.own_value(variable)


@contextlib.contextmanager
def keeping_weights(model: keras.Model, check: Callable[[], None]) -> Iterator[None]:
    """Within it, a method of Keras's may fail, and the model has its weights afterwards.

    Keras's loops take the values out of the variables and put them back at their end, to which an
    error does not come.
    """
    check()
    if keras.distribution.distribution() is not None and jax.process_count() == 1:
        keras_internals.lay_batches_through(_layout)
    variables = keras_internals.variables_of_training(model)
    before = keras_internals.own_values(variables)
    _KEPT.append(model)
    try:
        yield
    except BaseException:
        # What the last finished step left; where none was, what there was before.
        model.jax_state_sync()
        keras_internals.put_back(variables, before)
        raise
    finally:
        _KEPT.remove(model)


def _layout(batch: np.ndarray, layout: jax.sharding.NamedSharding) -> jax.sharding.NamedSharding:
    """Where a batch goes: whole to every device if they cannot have as many samples each.

    As the last batch of an epoch. It costs the time of that step on one device; filled up, it would
    have other statistics.
    """
    axis = layout.spec[0] if layout.spec else None
    if axis is None or len(batch) % layout.mesh.shape[axis] == 0:
        return layout
    return jax.sharding.NamedSharding(layout.mesh, jax.sharding.PartitionSpec())


def run_eagerly(function: Callable[[], T]) -> T | None:
    """What a function returns when it is run at once, even while another one is traced.

    None while `keeping_weights` lasts and Keras has the values out of the variables; it puts them
    back for callbacks.
    """
    kept = (one for model in _KEPT for one in keras_internals.own_values(model.variables))
    if any(value is None for value in kept):
        return None
    # A scope that knows no other values of variables than their own.
    with jax.ensure_compile_time_eval(), keras.StatelessScope(initialize_variables=False):
        return function()


def on_accelerator() -> bool:
    """Whether functions of a batch run on a device with many more cores than a processor."""
    return jax.default_backend() != "cpu"


def host_function(function: Callable[[np.ndarray], ArrayLike], inputs: Tensor) -> Tensor:
    """A number of each sample that NumPy computes, amid a compiled function; without a gradient."""
    return jax.pure_callback(
        lambda batch: np.asarray(function(np.asarray(batch)), "float32"),
        jax.ShapeDtypeStruct(inputs.shape[:1], "float32"),
        jax.lax.stop_gradient(inputs),
    )


def with_shape(tensor: Tensor, shape: Sequence[int | None]) -> Tensor:
    """The tensor: JAX knows every shape."""
    return tensor


def checked_finite(tensor: Tensor, message: str) -> Tensor:
    """The tensor: compiled JAX cannot raise; `PenaltyStep` looks before the step."""
    return tensor


def draw_seed(seed: int, step: Tensor, draw: int) -> Tensor:
    """The seed of one draw of one training step, as Keras's random functions take it."""
    first = jnp.asarray(step).astype("uint32") + np.uint32(seed * 1_000_003 % 2**32)
    return jnp.stack([first, jnp.uint32(draw)])


def never_empty(batch: Tensor) -> Tensor:
    """The batch: one program sees the batches of all devices."""
    return batch


def as_many(outputs: Tensor, batch: Tensor) -> Tensor:
    """The outputs: none were added."""
    return outputs
