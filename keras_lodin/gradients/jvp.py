"""Directional derivatives of a traced graph, operation by operation (forward mode).

A tangent travels with the data: where an operation computes y = f(x), its rule computes
dy = f'(x) dx on the values that the forward pass has already. One such walk gives the derivatives
of ALL logits along one direction, for any number of classes, and is itself differentiable.

TensorFlow has a forward mode of its own, `tf.autodiff.ForwardAccumulator`. It multiplies the
absent tangents of the weights as zeros, which costs each convolution once more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lodin.gradients.graph_walk import (
    attributes,
    mean_of_moments,
    padded_pooling,
    without_autograph,
)
from keras_lodin.gradients.tensorflow_internals import gradient_function

Tangents = Sequence[Any]
Rule = Callable[[Any, Tangents], Any]


@without_autograph
def directional_derivative(operations: Sequence[Any], inputs: Any, outputs: Any, v: Any) -> Any:
    """`d outputs / d inputs` applied to a direction.

    What is averaged or summed over the whole batch counts as constant: the statistics of a
    BatchNormalization in training mode. A sample's derivative is then that of the sample alone,
    though all samples move at once.

    Args:
        operations: what `operations_between` gave.
        inputs: the tensor that moves.
        outputs: the tensor that follows.
        v: the direction, a tensor of the inputs' shape and dtype.

    Returns:
        a tensor of the outputs' shape, or None if no derivative leads from one to the other.
    """
    tangents = {inputs.ref(): v}
    for operation in operations:
        given = [tangents.get(tensor.ref()) for tensor in operation.inputs]
        if all(tangent is None for tangent in given) or _reduces_the_batch(operation):
            continue
        for output, tangent in zip(operation.outputs, _push(operation, given), strict=True):
            if tangent is not None:
                tangents[output.ref()] = tangent
    return tangents.get(outputs.ref())


def _push(operation: Any, tangents: Tangents) -> Sequence[Any]:
    rule = _RULES.get(operation.type)
    if rule is None:
        return _transposed_twice(operation, tangents)
    return [rule(operation, tangents)]


def _reduces_the_batch(operation: Any) -> bool:
    """Whether an operation is the mean or sum over the batch and all other axes but at most one."""
    if operation.type not in ("Mean", "Sum"):
        return False
    axes = tf.get_static_value(operation.inputs[1])
    rank = operation.inputs[0].shape.rank
    if axes is None or rank is None or rank < 2:
        return False
    reduced = {int(axis) % rank for axis in np.ravel(axes)}
    return 0 in reduced and len(reduced) >= rank - 1


def _transposed_twice(operation: Any, tangents: Tangents) -> Sequence[Any]:
    """Any operation whose gradient can be differentiated.

    With g(u) = J^T u, linear in u, the derivative of <g(u), dx> with respect to u is J dx.
    """
    gradient = gradient_function(operation)
    outputs = operation.outputs
    if gradient is None:
        return [None] * len(outputs)
    cotangents = [tf.zeros_like(output) for output in outputs]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(cotangents)
        pulled = gradient(operation, *cotangents)
        pulled = pulled if isinstance(pulled, (list, tuple)) else [pulled]
        pairs = [
            (back, tangent)
            for back, tangent in zip(pulled, tangents, strict=True)
            if back is not None and tangent is not None
        ]
    if not pairs:
        return [None] * len(outputs)
    backs, directions = zip(*pairs, strict=True)
    return tape.gradient(list(backs), cotangents, output_gradients=list(directions))


def _sum(operation: Any, *terms: Any) -> Any:
    """The terms that exist, added up, in the shape of the operation's output."""
    present = [term for term in terms if term is not None]
    total = tf.add_n(present) if _same_shapes(present) else sum(present[1:], present[0])
    output = operation.outputs[0]
    if output.shape.is_fully_defined() and total.shape == output.shape:
        return total
    return tf.broadcast_to(total, tf.shape(output))


def _same_shapes(tensors: Sequence[Any]) -> bool:
    return all(t.shape.is_fully_defined() and t.shape == tensors[0].shape for t in tensors)


def _times(factor: Any, tangent: Any) -> Any:
    return None if tangent is None else factor * tangent


def _product(operation: Any, tangents: Tangents) -> Any:
    """With y = a b: dy = da b + a db."""
    a, b = operation.inputs
    return _sum(operation, _times(b, tangents[0]), _times(a, tangents[1]))


def _addition(operation: Any, tangents: Tangents) -> Any:
    """With y = a + b: dy = da + db."""
    return _sum(operation, *tangents)


def _subtraction(operation: Any, tangents: Tangents) -> Any:
    """With y = a - b: dy = da - db."""
    a, b = tangents
    return _sum(operation, a, None if b is None else -b)


def _squared_difference(operation: Any, tangents: Tangents) -> Any:
    """With y = (a - b)^2: dy = 2 (a - b) (da - db)."""
    a, b = operation.inputs
    mean = mean_of_moments(operation)
    twice = 2.0 * (a - (b if mean is None else mean))
    return _sum(operation, _times(twice, tangents[0]), _times(-twice, tangents[1]))


def _linear_in_the_first(operation: Any, tangents: Tangents) -> Any:
    """With y = L x with what else the operation reads held constant: dy = L dx."""
    if any(tangent is not None for tangent in tangents[1:]):
        return _transposed_twice(operation, tangents)[0]
    function = getattr(tf.raw_ops, operation.type)
    # Python renames some arguments; their order stays.
    names = list(inspect.signature(function).parameters)
    inputs = dict(zip(names, [tangents[0], *operation.inputs[1:]], strict=False))
    return function(**inputs, **attributes(operation))


def _cast(operation: Any, tangents: Tangents) -> Any:
    """A change of precision moves along; what becomes an integer does not move."""
    types = operation.inputs[0].dtype, operation.outputs[0].dtype
    return tf.cast(tangents[0], types[1]) if all(t.is_floating for t in types) else None


def _bias(operation: Any, tangents: Tangents) -> Any:
    """With y = x + bias: dy = dx."""
    if tangents[1] is not None:
        return _transposed_twice(operation, tangents)[0]
    return tangents[0]


def _elementwise(operation: Any, tangents: Tangents) -> Any:
    """With y = f(x) number by number J is its own transpose: dy is what the gradient would be."""
    gradient = gradient_function(operation)
    return None if gradient is None else gradient(operation, tangents[0])


def _softsign(operation: Any, tangents: Tangents) -> Any:
    """With y = x / (1 + |x|): dy = dx / (1 + |x|)^2."""
    scale = 1.0 + tf.abs(operation.inputs[0])
    return tangents[0] / (scale * scale)


def _max_pooling(operation: Any, tangents: Tangents) -> Any:
    """With y the largest x of a window: dy is the dx of that pixel."""
    padded = padded_pooling(operation)
    if padded is None:
        return _transposed_twice(operation, tangents)[0]
    other, amounts = padded
    return _transposed_twice(other, [tf.pad(tangents[0], amounts)])[0]


def _unchanged(operation: Any, tangents: Tangents) -> Any:
    return tangents[0]


# What is not here goes by `_transposed_twice`, which is right for all; these are what large
# tensors pass through, where the transposition would write out whole tensors for a broadcast.
_RULES: dict[str, Rule] = {
    "Mul": _product,
    "Add": _addition,
    "AddV2": _addition,
    "Sub": _subtraction,
    "SquaredDifference": _squared_difference,
    "BiasAdd": _bias,
    "Cast": _cast,
    "Identity": _unchanged,
    "MaxPool": _max_pooling,
    "MaxPool3D": _max_pooling,
    "Softsign": _softsign,
    **dict.fromkeys(
        (
            "AvgPool",
            "Conv2D",
            "Conv3D",
            "DepthwiseConv2dNative",
            "MatMul",
            "Mean",
            "Neg",
            "Pad",
            "Reshape",
            "ResizeBicubic",
            "ResizeBilinear",
            "ResizeNearestNeighbor",
            "ScaleAndTranslate",
            "StridedSlice",
            "Sum",
            "Transpose",
        ),
        _linear_in_the_first,
    ),
    **dict.fromkeys(
        ("Elu", "Erf", "Exp", "Relu", "Relu6", "Rsqrt", "Sigmoid", "Softplus", "Sqrt", "Tanh"),
        _elementwise,
    ),
}
