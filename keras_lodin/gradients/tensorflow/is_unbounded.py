"""Whether a function's values have no upper end, told from the operation that makes them."""

from __future__ import annotations

from collections.abc import Callable

from keras_lodin.gradients.tensorflow.graph_walk import last_operation, maker
from keras_lodin.utils.tensor import Tensor

# A product, with or without an offset,
_PRODUCTS = ("MatMul", "BatchMatMulV2", "Conv1D", "Conv2D", "Conv3D", "Einsum", "BiasAdd")
# (which may be added by itself; the product is one of the operands)
_SUMS = ("AddV2", "Add")
# and activations without an upper end.
_ACTIVATIONS = ("Relu", "LeakyRelu", "Elu", "Selu", "Softplus", "Exp", "Square", "Abs")


def is_unbounded(function: Callable[[Tensor], Tensor], inputs: Tensor) -> bool:
    """Whether a function ends in a product, with or without an offset, or in an activation
    without an upper end, whatever values it has for some inputs.

    Args:
        function: of one tensor.
        inputs: what to run or trace it on.
    """
    operation = last_operation(function, inputs)
    if operation.type in _SUMS:
        return any(maker(source).type in _PRODUCTS for source in operation.inputs)
    return operation.type in (*_PRODUCTS, *_ACTIVATIONS)
