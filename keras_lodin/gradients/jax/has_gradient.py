"""Whether a function has a gradient, told from a trace of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import keras

from keras_lodin.gradients.jax.scopes import InnerScope
from keras_lodin.utils.tensor import Tensor

# For a size that is free: no layer of a usual network takes it for too small.
_SOME_SIZE = 32


def has_gradient(
    function: Callable[..., Tensor], tensors: Sequence[keras.KerasTensor], watched: Sequence[int]
) -> bool:
    """See `keras_lodin.gradients.tensorflow.has_gradient.has_gradient`."""
    specifications = [
        jax.ShapeDtypeStruct(
            tuple(_SOME_SIZE if size is None else size for size in tensor.shape),
            "float32" if number in watched and "float" not in tensor.dtype else tensor.dtype,
        )
        for number, tensor in enumerate(tensors)
    ]

    def total(*values: Tensor) -> Tensor:
        with InnerScope():
            output = keras.tree.flatten(function(*values))[0]
        return jnp.sum(output.astype("float32")) if _is_float(output) else jnp.zeros(())

    try:
        traced = jax.make_jaxpr(jax.grad(total, argnums=tuple(watched)))(*specifications)
    except Exception:  # whatever a user's layer raises
        return True
    made_by = {id(output): one for one in traced.jaxpr.eqns for output in one.outvars}
    return not all(_is_nothing(one, made_by.get(id(one))) for one in traced.jaxpr.outvars)


def _is_float(tensor: Tensor) -> bool:
    return bool(jnp.issubdtype(tensor.dtype, jnp.floating))


def _is_nothing(gradient: object, made_by: jax.core.JaxprEqn | None) -> bool:
    """Whether a result of a trace is zero by its rule: a zero, or one that is repeated."""
    if made_by is None:
        return getattr(gradient, "val", None) == 0.0
    return made_by.primitive.name == "broadcast_in_dim" and (
        getattr(made_by.invars[0], "val", None) == 0.0
    )
