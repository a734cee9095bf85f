"""A trace as TensorFlow itself runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_lodin.export.tracing import Function, Trace, copied, traced
from keras_lodin.gradients.tensorflow.graph_walk import attributes
from keras_lodin.utils.tensor import Tensor

# Where an operation has its images and its kernel: among its inputs (>= 0), or as its output (-1).
_CONVOLUTIONS = {
    "Conv2D": (0, 1),
    "Conv2DBackpropInput": (-1, 1),
    "Conv2DBackpropFilter": (0, -1),
    "Conv3D": (0, 1),
    "Conv3DBackpropInputV2": (-1, 1),
    "Conv3DBackpropFilterV2": (0, -1),
}


def runnable(function: Function) -> Callable[..., dict[str, Tensor]]:
    """A function by the trace that a conversion takes, for TensorFlow to run.

    Keras has grouped convolutions compiled by XLA, as TensorFlow has no kernels for them on every
    processor; in a trace that a conversion takes, that is written out. Those with a group for each
    channel are run as depthwise ones, which is the same: TensorFlow has kernels for these
    everywhere, and they are many times faster than what XLA makes (docs/performance.md).

    Returns:
        a function of the same inputs and outputs: the trace; or, where it holds other groups, the
        given function, which TensorFlow traces a second time.

    Raises:
        ValueError: if TensorFlow cannot trace it.
    """
    trace = traced(function)
    special = [operation for operation in _running(trace) if _is_special(operation)]
    if not special:
        return trace.function
    if not all(map(_is_depthwise, special)):
        return function

    @tf.function(input_signature=function.input_signature, autograph=False)
    def run(*inputs: Tensor) -> dict[str, Tensor]:
        return replayed(trace, inputs)

    return run.get_concrete_function()


def replayed(
    trace: Trace,
    inputs: Sequence[Tensor],
    moved: Callable[[tf.Operation, Tensor], Tensor] = lambda operation, result: result,
) -> dict[str, Tensor]:
    """The operations of a trace once more, on other inputs, in the graph that is being made.

    Args:
        trace: the trace.
        inputs: in the place of the function's own.
        moved: of an operation and a result of it, what the others get in that result's place.

    Returns:
        the outputs by name.
    """
    given = [*inputs, *trace.captured_inputs]
    values = {tensor.ref(): value for tensor, value in zip(trace.inputs, given, strict=True)}
    copies: dict[str, tf.Operation] = {}
    for operation in _running(trace):
        if operation.type == "Placeholder":
            continue
        write = _depthwise if _is_depthwise(operation) else copied
        before = [copies[o.name] for o in operation.control_inputs if o.name in copies]
        with tf.control_dependencies(before):
            copy = write(operation, [values[tensor.ref()] for tensor in operation.inputs])
        copies[operation.name] = copy
        for tensor, result in zip(operation.outputs, copy.outputs, strict=True):
            values[tensor.ref()] = moved(operation, result)
    return {name: values[tensor.ref()] for name, tensor in trace.structured_outputs.items()}


def _running(trace: Trace) -> list[tf.Operation]:
    """What runs: what an output depends on, and what may change something. Others are left over."""
    operations = trace.graph.get_operations()
    waiting = [operation for operation in operations if operation.op_def.is_stateful]
    waiting += [tensor.op for tensor in trace.structured_outputs.values()]
    found: set[tf.Operation] = set()
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
            waiting += operation.control_inputs
    return [operation for operation in operations if operation in found]


def _is_special(operation: tf.Operation) -> bool:
    """Whether TensorFlow has no kernel for a convolution on some processors, or it may be so."""
    if operation.type not in _CONVOLUTIONS:
        return False
    last = _channels_last(operation)
    images, kernel = _images_and_kernel(operation)
    return images[-1 if last else 1] != kernel[-2] or (len(images) == 5 and not last)


def _is_depthwise(operation: tf.Operation) -> bool:
    """Whether a convolution has a group for each channel, of a kind that has kernels everywhere."""
    if operation.type not in ("Conv2D", "Conv2DBackpropInput") or not _is_special(operation):
        return False
    images, kernel = _images_and_kernel(operation)
    options = attributes(operation)
    return (
        images[-1] is not None
        and kernel[-2] == 1
        and _channels_last(operation)
        and len(set(options["strides"][1:-1])) == 1
        and set(options["dilations"]) == {1}
    )


def _depthwise(operation: tf.Operation, inputs: Sequence[Tensor]) -> tf.Operation:
    options = attributes(operation)
    images, (height, width, _, channels) = _images_and_kernel(operation)
    shape = [height, width, images[-1], channels // images[-1]]
    names = ("strides", "padding", "explicit_paddings", "data_format", "dilations")
    arguments = {
        "filter": tf.reshape(inputs[1], shape),
        **{name: options[name] for name in names},
    }
    if operation.type == "Conv2D":
        return tf.raw_ops.DepthwiseConv2dNative(input=inputs[0], **arguments).op
    return tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=inputs[0], out_backprop=inputs[2], **arguments
    ).op


def _channels_last(operation: tf.Operation) -> bool:
    return not operation.get_attr("data_format").startswith(b"NC")


def _images_and_kernel(operation: tf.Operation) -> tuple[list[Any], list[Any]]:
    """The shapes of a convolution's images and of its kernel, None for free sizes."""
    shapes = [
        (operation.outputs[0] if place < 0 else operation.inputs[place]).shape
        for place in _CONVOLUTIONS[operation.type]
    ]
    # Of a SavedModel's layers the images' rank may not be known; a convolution's two are the same.
    rank = next((shape.rank for shape in shapes if shape.rank is not None), 4)
    images, kernel = ([None] * rank if shape.rank is None else shape.as_list() for shape in shapes)
    return images, kernel
