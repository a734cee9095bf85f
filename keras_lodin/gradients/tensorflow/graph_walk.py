"""The operations of a traced graph that lie between two of its tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lodin.gradients.tensorflow.tensorflow_internals import called_graphs, gradient_function
from keras_lodin.utils.tensor import Tensor

# Operations that hold another graph which a walk cannot go around: a loop keeps what its gradient
# needs in lists that are no tensors. A function that is called once is one more operation.
LOOPS = frozenset(
    {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"},
)


def operations_between(inputs: Tensor, outputs: Tensor) -> list[tf.Operation]:
    """The operations of a graph through which `outputs` depends on `inputs`, in order."""
    ancestors = set()
    waiting = [outputs.op]
    while waiting:
        operation = waiting.pop()
        if operation not in ancestors:
            ancestors.add(operation)
            waiting.extend(tensor.op for tensor in operation.inputs)
    reached = {inputs.ref()}
    found = []
    # A graph lists its operations in the order of their creation: inputs come before readers.
    for operation in inputs.graph.get_operations():
        if operation.type == "StopGradient":
            continue
        if operation in ancestors and any(t.ref() in reached for t in operation.inputs):
            found.append(operation)
            reached.update(output.ref() for output in operation.outputs)
    return found


def attributes(operation: tf.Operation) -> dict[str, Any]:
    """The attributes that `tf.raw_ops` takes for an operation: those that no input implies."""
    implied = {
        name
        for argument in operation.op_def.input_arg
        for name in (argument.type_attr, argument.number_attr, argument.type_list_attr)
    }
    values = {
        attribute.name: operation.get_attr(attribute.name)
        for attribute in operation.op_def.attr
        if attribute.name not in implied
    }
    return {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in values.items()
    }


# They change how values are stored, not what they are.
_KEEPING = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "StopGradient"})


def maker(tensor: Tensor) -> tf.Operation:
    """The operation of a graph that made a tensor's values; those that keep values are not it."""
    operation = tensor.op
    while operation.type in _KEEPING:
        operation = operation.inputs[0].op
    return operation


def last_operation(function: Callable[[Tensor], Tensor], inputs: Tensor) -> tf.Operation:
    """The operation that makes the values of a function of one tensor."""
    return maker(tf.function(function).get_concrete_function(inputs).outputs[0])


def run_by_itself(operation: tf.Operation, inputs: Sequence[Tensor]) -> list[Tensor]:
    """An operation's outputs on other inputs: in the graph or eagerly, as one calls."""
    waiting = list(inputs)
    arguments: list[Tensor | list[Tensor]] = []
    for argument in operation.op_def.input_arg:
        if argument.number_attr:
            count = operation.get_attr(argument.number_attr)
            arguments.append(waiting[:count])
            del waiting[:count]
        else:
            arguments.append(waiting.pop(0))
    function = getattr(tf.raw_ops, operation.type)
    # Python renames some arguments and attributes; their order stays.
    names = list(inspect.signature(function).parameters)
    given, left = dict(zip(names, arguments, strict=False)), attributes(operation)
    given.update({name: left.pop(name) for name in names if name in left})
    if left:
        unused = [name for name in names if name not in given and name != "name"]
        given.update(zip(unused, left.values(), strict=True))
    results = function(**given)
    return list(results) if isinstance(results, (list, tuple)) else [results]


# The walks are Python that builds graphs. AutoGraph would translate every line of them.
without_autograph = tf.autograph.experimental.do_not_convert


def mean_of_moments(operation: tf.Operation) -> Tensor | None:
    """The mean inside of a variance from which `tf.nn.moments` keeps the gradient away.

    It computes `mean((x - stop_gradient(m))^2)` with m the mean of x. By the mean, the derivative
    of this is zero for every x, so that the first derivative loses nothing. But that of x,
    `2 (x - m) / n`, moves with the mean, and a second derivative that takes it for constant is
    wrong: in every BatchNormalization in training mode, and in GroupNormalization.

    Returns:
        m as a tensor that may be differentiated, or None for any other squared difference.
    """
    x, subtracted = operation.inputs
    if subtracted.op.type != "StopGradient" or subtracted.op.inputs[0].op.type != "Mean":
        return None
    (mean,) = subtracted.op.inputs
    # There may be more readers: gradients of tensors with a free size ask for the shape, from loops
    # and called functions too.
    same_axes = any(
        reader.type == "Mean" and _reduced(reader) == _reduced(mean.op)
        for reader in operation.outputs[0].consumers()
    )
    return mean if mean.op.inputs[0] is x and same_axes else None


def _reduced(operation: tf.Operation) -> object:
    """The axes of a Mean: their numbers, or the tensor that will hold them."""
    axes = reduced_axes(operation)
    return operation.inputs[1].ref() if axes is None else axes


def reduced_axes(operation: tf.Operation) -> list[int] | None:
    """The axes of a Mean or Sum in ascending order; None where only the running graph knows."""
    axes = tf.get_static_value(operation.inputs[1])
    if axes is None:
        return None
    rank = operation.inputs[0].shape.rank
    return sorted({int(axis) % rank if rank else int(axis) for axis in np.ravel(axes)})


def with_called(operations: Iterable[tf.Operation]) -> Iterator[tf.Operation]:
    """Operations, and those of the functions and loops that they call, whatever the depth."""
    for operation in operations:
        yield operation
        for graph in called_graphs(operation):
            yield from with_called(graph.get_operations())


# Numbers that really do not move with those they are made of.
_CONSTANT = frozenset(
    {"Ceil", "Floor", "OnesLike", "Rint", "Round", "Sign", "StopGradient", "ZerosLike"}
)


def differentiates_to_nothing(operation: tf.Operation) -> bool:
    """Whether TensorFlow takes for constant what an operation makes of floating-point numbers."""
    floating = [
        any(tensor.dtype.is_floating for tensor in tensors)
        for tensors in (operation.inputs, operation.outputs)
    ]
    return (
        all(floating) and operation.type not in _CONSTANT and gradient_function(operation) is None
    )


def second_derivative_is_wrong(operation: tf.Operation) -> bool:
    """Whether TensorFlow's own second derivative of an operation is missing or wrong.

    The walks have rules of their own for each of these.
    """
    if operation.type == "SquaredDifference":
        return mean_of_moments(operation) is not None
    if operation.type in ("MaxPool", "MaxPool3D"):
        same_size = set(operation.get_attr("strides")) == {1}
        return same_size and operation.get_attr("padding") == b"SAME"
    return operation.type in (
        "ResizeBicubic",
        "ResizeBilinear",
        "ResizeNearestNeighbor",
        "ScaleAndTranslate",
        "Softsign",
    )


def padded_pooling(operation: tf.Operation) -> tuple[tf.Operation, list[list[int]]] | None:
    """A max pooling that keeps the size, as one without padding of an input that was padded.

    TensorFlow's second derivative of the former is wrong in a graph: its kernel writes the result
    over the operand, which has the same shape.

    Returns:
        the other pooling's operation and the amounts of padding, or None for any other pooling.
    """
    sizes, strides = operation.get_attr("ksize"), operation.get_attr("strides")
    same = operation.get_attr("padding") == b"SAME" and set(strides) == {1}
    if not same or operation.get_attr("data_format") not in (b"NHWC", b"NDHWC"):
        return None
    source = operation.inputs[0]
    amounts = [[(size - 1) // 2, size - 1 - (size - 1) // 2] for size in sizes]
    padded = tf.pad(source, amounts, constant_values=source.dtype.min)
    pooled = tf.nn.max_pool(padded, sizes[1:-1], 1, "VALID")
    return pooled.op, amounts
