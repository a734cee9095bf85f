"""Whether a function's values have no upper end, told from the operation that makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from keras_lodin.gradients.jax.scopes import InnerScope
from keras_lodin.utils.tensor import Tensor

_PRODUCTS = ("dot_general", "conv_general_dilated")
_SUMS = ("add", "add_any")
# By the names of JAX's functions, where they are some operations.
_ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "softplus", "exp", "square", "abs")
# Those that keep values, or only place them.
_KEEPING = (
    *("convert_element_type", "reshape", "squeeze", "expand_dims", "transpose", "stop_gradient"),
    *("broadcast_in_dim", "copy", "copy_p"),
)


def is_unbounded(function: Callable[[Tensor], Tensor], inputs: Tensor) -> bool:
    """See `keras_lodin.gradients.tensorflow.is_unbounded.is_unbounded`."""

    def within(values: Tensor) -> Tensor:
        with InnerScope():
            return function(values)

    last, operands = _end(jax.make_jaxpr(within)(inputs).jaxpr, 0)
    return last in (*_PRODUCTS, *_ACTIVATIONS) or (
        last in _SUMS and any(name in _PRODUCTS for name in operands)
    )


def _end(program: Any, place: int) -> tuple[str | None, list[str | None]]:
    """The name of what makes an output of a traced program, and of what makes its operands."""
    made_by = {id(output): one for one in program.eqns for output in one.outvars}

    def maker(value: object) -> Any:
        operation = made_by.get(id(value))
        while operation is not None and operation.primitive.name in _KEEPING:
            value = operation.invars[0]
            operation = made_by.get(id(value))
        return operation, value

    last, value = maker(program.outvars[place])
    if last is None:
        return None, []
    if last.params.get("name") in _ACTIVATIONS:
        return last.params["name"], []
    for inner in last.params.values():
        # A function that was compiled by itself, or has a rule for its gradient.
        inner = getattr(inner, "jaxpr", inner)
        if hasattr(inner, "eqns"):
            return _end(inner, [id(output) for output in last.outvars].index(id(value)))
    operands = [maker(operand)[0] for operand in last.invars]
    return last.primitive.name, [one and one.primitive.name for one in operands]
