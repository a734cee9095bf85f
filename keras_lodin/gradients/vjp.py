"""Input gradients of a traced graph for many cotangents at once, operation by operation.

A cotangent travels against the data: where an operation computes y = f(x), its rule turns du, the
cotangent of y, into that of x. Here every cotangent has one more axis in front, for the P
gradients wanted. Convolutions take it as part of the batch, and elementwise rules broadcast what
the forward pass left behind. `tf.vectorized_map` over `tape.gradient` repeats it P times instead,
and forms the zeros that are the second derivative of a ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lodin.gradients.graph_walk import (
    attributes,
    differentiates_to_nothing,
    mean_of_moments,
    padded_pooling,
    second_derivative_is_wrong,
    with_called,
    without_autograph,
)
from keras_lodin.gradients.tensorflow_internals import gradient_function

Wanted = Sequence[bool]
Rule = Callable[[Any, Any, Wanted], Sequence[Any] | None]


@dataclass(frozen=True)
class _Spread:
    """A cotangent of size 1 along some axes of its tensor, along which it is the same."""

    cotangent: Any


@without_autograph
def vectorized_gradient(
    operations: Sequence[Any], inputs: Any, outputs: Any, cotangents: Any
) -> Any:
    """Vector-Jacobian products of many cotangents.

    Args:
        operations: what `operations_between` gave.
        inputs: the tensor to differentiate by.
        outputs: the tensor to differentiate.
        cotangents: tensor of shape `(count, *outputs.shape)`.

    Returns:
        a tensor of shape `(count, *inputs.shape)`, or None if no derivative leads there.
    """
    reached = {inputs.ref()}
    for operation in operations:
        reached.update(output.ref() for output in operation.outputs)
    arrived: dict[Any, list[Any]] = {outputs.ref(): [cotangents]}
    for operation in reversed(operations):
        upstream = [_added(output, arrived.pop(output.ref(), [])) for output in operation.outputs]
        if all(cotangent is None for cotangent in upstream):
            continue
        wanted = [tensor.ref() in reached for tensor in operation.inputs]
        pulled = _pull(operation, upstream, wanted)
        for tensor, cotangent, want in zip(operation.inputs, pulled, wanted, strict=True):
            if want and cotangent is not None:
                arrived.setdefault(tensor.ref(), []).append(cotangent)
    return _added(inputs, arrived.get(inputs.ref(), []))


def _added(tensor: Any, cotangents: Sequence[Any]) -> Any:
    """The sum of a tensor's cotangents, or None if there are none."""
    whole = [cotangent for cotangent in cotangents if not isinstance(cotangent, _Spread)]
    spread = [part.cotangent for part in cotangents if isinstance(part, _Spread)]
    if not cotangents:
        return None
    if not whole:
        first, *spread = spread
        shape = tf.concat([tf.shape(first)[:1], tf.shape(tensor)], 0)
        whole = [tf.broadcast_to(first, shape)]
    total = whole[0] if len(whole) == 1 else tf.add_n(whole)
    for part in spread:
        total += part
    return tf.ensure_shape(total, (total.shape[0], *tensor.shape))


def _pull(operation: Any, upstream: Sequence[Any], wanted: Wanted) -> Sequence[Any]:
    rule = _RULES.get(operation.type)
    pulled = rule(operation, upstream[0], wanted) if rule else None
    return _by_gradient_function(operation, upstream, wanted) if pulled is None else pulled


def _by_gradient_function(operation: Any, upstream: Sequence[Any], wanted: Wanted) -> Sequence[Any]:
    """Any operation, by TensorFlow's own gradient function, vectorised over the cotangents."""
    gradient = gradient_function(operation)
    if gradient is None:
        return [None] * len(wanted)
    count = tf.shape(next(cotangent for cotangent in upstream if cotangent is not None))[0]
    filled = [
        tf.zeros(tf.concat([[count], tf.shape(output)], 0), output.dtype)
        if cotangent is None
        else cotangent
        for cotangent, output in zip(upstream, operation.outputs, strict=True)
    ]
    places: list[int] = []
    missing: list[str] = []

    def single(cotangents: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        known = len(graph.get_operations())
        pulled = gradient(operation, *cotangents)
        added = graph.get_operations()[known:]
        missing[:] = [o.type for o in added if differentiates_to_nothing(o)]
        missing.extend(o.type for o in with_called([operation]) if second_derivative_is_wrong(o))
        pulled = pulled if isinstance(pulled, (list, tuple)) else [pulled]
        places[:] = [n for n, back in enumerate(pulled) if wanted[n] and back is not None]
        return [tf.convert_to_tensor(pulled[n]) for n in places]

    results = tf.vectorized_map(single, filled)
    backs: list[Any] = [None] * len(wanted)
    for place, result in zip(places, results, strict=True):
        backs[place] = _only_once(result, operation) if missing else result
    return backs


def _only_once(tensor: Any, operation: Any) -> Any:
    """A gradient that TensorFlow would differentiate to nothing, or wrongly, without a word."""
    return _not_twice(
        tensor,
        "A penalty on input gradients needs second derivatives, and TensorFlow has none, or no "
        f"right one, of {operation.type}. Expected a classifier whose layers have one. "
        f"Received: operation {operation.name!r}",
    )


def once_beside_loops(derivative: Any, operations: Sequence[Any]) -> Any:
    """A derivative that TensorFlow's tape took, if its own derivative would be a wrong one.

    Args:
        derivative: what the tape made of a graph that holds a loop.
        operations: what `operations_between` gave.

    Returns:
        the same tensor; where an operation is among them whose second derivative TensorFlow lacks
        or gets wrong, one that raises a ValueError when it is differentiated.
    """
    fault = next(filter(second_derivative_is_wrong, with_called(operations)), None)
    if fault is None:
        return derivative
    return _not_twice(
        derivative,
        "A penalty on input gradients needs second derivatives. TensorFlow's own is missing or "
        f"wrong for {fault.type}, and the package's cannot go around the loop that the classifier "
        "holds as well. Expected a classifier with one of both: recurrent layers have no loop "
        f"with `unroll=True`. Received: operation {fault.name!r}",
    )


def _not_twice(tensor: Any, reason: str) -> Any:
    @tf.custom_gradient
    def identity(tensor: Any) -> Any:
        def backward(upstream: Any) -> Any:
            raise ValueError(reason)

        return tf.identity(tensor), backward

    return identity(tensor)


def _addition(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    """With y = a + b: a and b each get du."""
    if not _broadcast_is_known(operation):
        return None
    return [_reduced_to(tensor, upstream) for tensor in operation.inputs]


def _subtraction(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    """With y = a - b: a gets du, b gets -du."""
    if not _broadcast_is_known(operation):
        return None
    a, b = operation.inputs
    return [_reduced_to(a, upstream), -_reduced_to(b, upstream) if wanted[1] else None]


def _product(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    """With y = a b: a gets b du, b gets a du."""
    if not _broadcast_is_known(operation):
        return None
    a, b = operation.inputs
    return [
        _reduced_product(a, upstream, b) if wanted[0] else None,
        _reduced_product(b, upstream, a) if wanted[1] else None,
    ]


def _squared_difference(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    """With y = (a - b)^2: a gets 2 (a - b) du, b its negative."""
    mean = mean_of_moments(operation)
    if mean is not None:
        # The mean has the shape of x but for sizes of 1: nothing to sum over.
        return [upstream * (2.0 * (operation.inputs[0] - mean)), None]
    if not _broadcast_is_known(operation):
        return None
    a, b = operation.inputs
    twice = 2.0 * (a - b)
    return [
        _reduced_product(a, upstream, twice) if wanted[0] else None,
        -_reduced_product(b, upstream, twice) if wanted[1] else None,
    ]


def _sum(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    """With y the sum of x over some axes: every x gets du."""
    axes = _reduced_axes(operation)
    if axes is None:
        return None
    if not operation.get_attr("keep_dims"):
        for axis in axes:
            upstream = tf.expand_dims(upstream, axis + 1)
    return [_Spread(upstream), None]


def _mean(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    """With y the mean of n x: every x gets du / n."""
    axes = _reduced_axes(operation)
    if axes is None:
        return None
    count = tf.reduce_prod(tf.gather(tf.shape(operation.inputs[0]), axes))
    return _sum(operation, upstream / tf.cast(count, upstream.dtype), wanted)


def _reduced_axes(operation: Any) -> list[int] | None:
    axes = tf.get_static_value(operation.inputs[1])
    rank = operation.inputs[0].shape.rank
    if axes is None or rank is None:
        return None
    return sorted({int(axis) % rank for axis in np.ravel(axes)})


def _relu(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any]:
    """With y = max(x, 0): x gets du where y > 0."""
    return [upstream * tf.cast(operation.outputs[0] > 0, upstream.dtype)]


def _softsign(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any]:
    """With y = x / (1 + |x|): x gets du / (1 + |x|)^2."""
    scale = 1.0 + tf.abs(operation.inputs[0])
    return [upstream / (scale * scale)]


def _max_pooling(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    """With y the largest x of a window that keeps the size: as of the padded input."""
    padded = padded_pooling(operation)
    if padded is None:
        return None
    other, amounts = padded
    (pulled,) = _by_gradient_function(other, [upstream], [True])
    begin = [0, *(before for before, _ in amounts)]
    sizes = tf.concat([tf.shape(upstream)[:1], tf.shape(operation.inputs[0])], 0)
    return [_like_input(operation, tf.slice(pulled, begin, sizes), upstream)]


def _resizing(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any]:
    """With y = R x, a resized image: x gets R^T du, which TensorFlow differentiates to nothing."""
    source, size, *placing = operation.inputs
    options = attributes(operation)
    transposed = getattr(tf.raw_ops, _TRANSPOSED_RESIZING[operation.type])
    resize = getattr(tf.raw_ops, operation.type)
    places = dict(zip(("scale", "translation"), placing, strict=False))

    @tf.custom_gradient
    def pull(folded: Any) -> Any:
        def backward(upstream: Any) -> Any:
            return tf.cast(resize(images=upstream, size=size, **places, **options), folded.dtype)

        if operation.type == "ResizeNearestNeighbor":
            return transposed(grads=folded, size=tf.shape(source)[1:3], **options), backward
        # Read for its shape alone.
        shape = tf.concat([tf.shape(folded)[:1], tf.shape(source)[1:]], 0)
        original = tf.zeros(shape, folded.dtype if placing else source.dtype)
        return transposed(grads=folded, original_image=original, **places, **options), backward

    folded = tf.reshape(upstream, tf.concat([[-1], tf.shape(operation.outputs[0])[1:]], 0))
    pulled = tf.cast(_like_input(operation, pull(folded), upstream), source.dtype)
    return [pulled, *[None] * (len(wanted) - 1)]


_TRANSPOSED_RESIZING = {
    "ResizeBicubic": "ResizeBicubicGrad",
    "ResizeBilinear": "ResizeBilinearGrad",
    "ResizeNearestNeighbor": "ResizeNearestNeighborGrad",
    "ScaleAndTranslate": "ScaleAndTranslateGrad",
}


def _identity(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any]:
    return [upstream, *[None] * (len(wanted) - 1)]


def _cast(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    if not (operation.inputs[0].dtype.is_floating and upstream.dtype.is_floating):
        return None
    return [tf.cast(upstream, operation.inputs[0].dtype)]


def _reshape(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any]:
    return [_like_input(operation, upstream, upstream), None]


def _matrix_product(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    """With y = x W: x gets du W^T."""
    if wanted[1] or operation.get_attr("transpose_a"):
        return None
    transpose = not operation.get_attr("transpose_b")
    return [tf.matmul(upstream, operation.inputs[1], transpose_b=transpose), None]


def _convolution(operation: Any, upstream: Any, wanted: Wanted) -> Sequence[Any] | None:
    """With y = W * x: x gets the transposed convolution of du, the counts folded into the batch."""
    if wanted[1]:
        return None
    source, kernel = operation.inputs
    # Sizes are taken from the forward pass, as a gradient may have lost its static shape.
    sizes = tf.shape(operation.outputs[0])[1:]
    folded = tf.reshape(upstream, tf.concat([[-1], sizes], 0))
    input_sizes = tf.concat([tf.shape(folded)[:1], tf.shape(source)[1:]], 0)
    pull = (
        tf.raw_ops.Conv2DBackpropInput
        if operation.type == "Conv2D"
        else tf.raw_ops.DepthwiseConv2dNativeBackpropInput
    )
    options = attributes(operation)
    options.pop("use_cudnn_on_gpu", None)
    pulled = pull(input_sizes=input_sizes, filter=kernel, out_backprop=folded, **options)
    return [_like_input(operation, pulled, upstream), None]


def _like_input(operation: Any, pulled: Any, upstream: Any) -> Any:
    """Any tensor of `count` times the first input's numbers as `(count, *inputs.shape)`."""
    source = operation.inputs[0]
    shape = tf.concat([tf.shape(upstream)[:1], tf.shape(source)], 0)
    return tf.ensure_shape(tf.reshape(pulled, shape), (upstream.shape[0], *source.shape))


def _broadcast_is_known(operation: Any) -> bool:
    """Whether the shapes tell along which axes an operand was broadcast.

    A free size could be 1 while the graph runs, except that of the batch, which both share.
    """
    shapes = [tensor.shape for tensor in operation.inputs]
    if any(shape.rank is None for shape in shapes):
        return False
    if shapes[0].as_list() == shapes[1].as_list() and None not in shapes[0][1:]:
        return True
    shorter, longer = sorted(shapes, key=lambda shape: shape.rank)
    tails = list(shorter), list(longer)[longer.rank - shorter.rank :]
    if shorter.rank == longer.rank and tails[0][:1] == tails[1][:1] == [None]:
        tails = tails[0][1:], tails[1][1:]
    return all(size is not None for tail in tails for size in tail)


def _broadcast_axes(tensor: Any, upstream: Any) -> list[int]:
    """The axes of a cotangent along which the tensor was broadcast."""
    shape, full = tensor.shape, upstream.shape[1:]
    missing = full.rank - shape.rank
    added = list(range(1, 1 + missing))
    stretched = [
        1 + missing + axis
        for axis, size in enumerate(shape)
        if size == 1 and full[missing + axis] != 1
    ]
    return added + stretched


def _reduced_to(tensor: Any, upstream: Any) -> Any:
    """A cotangent summed over the axes along which a tensor was broadcast."""
    axes = _broadcast_axes(tensor, upstream)
    if not axes:
        return upstream
    return _without_axes(tensor, tf.reduce_sum(upstream, axes, keepdims=True))


def _reduced_product(tensor: Any, upstream: Any, factor: Any) -> Any:
    """`_reduced_to(tensor, upstream * factor)`, differentiated without repeating the sum."""
    axes = _broadcast_axes(tensor, upstream)
    if not axes or factor.shape.rank != upstream.shape.rank - 1:
        return _reduced_to(tensor, upstream * factor)

    @tf.custom_gradient
    def contraction(upstream: Any, factor: Any) -> Any:
        def backward(weights: Any) -> Any:
            return weights * factor, tf.reduce_sum(weights * upstream, 0)

        return tf.reduce_sum(upstream * factor, axes, keepdims=True), backward

    if _broadcast_axes(factor, upstream):
        return _reduced_to(tensor, upstream * factor)
    return _without_axes(tensor, contraction(upstream, factor))


def _without_axes(tensor: Any, summed: Any) -> Any:
    """A cotangent with sizes of 1 in the shape `(count, *tensor.shape)`."""
    if summed.shape.rank == tensor.shape.rank + 1:
        return summed
    return tf.squeeze(summed, list(range(1, summed.shape.rank - tensor.shape.rank)))


# What is not here goes by `_by_gradient_function`, which is right for all.
_RULES: dict[str, Rule] = {
    "Add": _addition,
    "AddV2": _addition,
    "BiasAdd": _identity,
    "Cast": _cast,
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "Identity": _identity,
    "MatMul": _matrix_product,
    "MaxPool": _max_pooling,
    "MaxPool3D": _max_pooling,
    "Mean": _mean,
    "Mul": _product,
    "Relu": _relu,
    "Reshape": _reshape,
    **dict.fromkeys(_TRANSPOSED_RESIZING, _resizing),
    "Softsign": _softsign,
    "SquaredDifference": _squared_difference,
    "Sub": _subtraction,
    "Sum": _sum,
}
