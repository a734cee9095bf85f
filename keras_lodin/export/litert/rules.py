"""How to write TensorFlow operations that LiteRT lacks with ones that it has.

A rule takes the operation and its inputs, tensors of the graph being written, and gives its
output, or a list of them. It raises `UnwritableError` with a reason for what it cannot write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from keras_lodin.export.known_values import known_shape, known_value
from keras_lodin.export.litert.windows import (
    counts,
    gather_windows,
    offsets,
    placed,
    scatter_windows,
    spread,
    window,
)
from keras_lodin.export.resizing_matrices import resized, resizing_matrix
from keras_lodin.export.unwritable_error import UnwritableError
from keras_lodin.gradients.tensorflow.graph_walk import attributes
from keras_lodin.utils.registry import Registry
from keras_lodin.utils.tensor import Tensor

Rule = Callable[..., Tensor | list[Tensor]]
RULES: Registry[Rule] = Registry("TensorFlow operation with a rule for LiteRT")

# Klambauer et al. 2017: the fixed point with mean 0 and variance 1.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

_ELEMENTWISE: dict[str, Rule] = {
    "ReluGrad": lambda op, dy, x: tf.where(x > 0.0, dy, 0.0),
    "Relu6Grad": lambda op, dy, x: tf.where((x > 0.0) & (x < 6.0), dy, 0.0),
    "LeakyReluGrad": lambda op, dy, x: tf.where(x > 0.0, dy, dy * op.get_attr("alpha")),
    "EluGrad": lambda op, dy, y: tf.where(y < 0.0, dy * (y + 1.0), dy),
    "Selu": lambda op, x: (
        _SELU_SCALE * tf.where(x > 0.0, x, _SELU_ALPHA * _expm1(tf.minimum(x, 0.0)))
    ),
    "SeluGrad": lambda op, dy, y: (
        dy * tf.where(y < 0.0, y + _SELU_SCALE * _SELU_ALPHA, _SELU_SCALE)
    ),
    "SigmoidGrad": lambda op, y, dy: dy * y * (1.0 - y),
    "TanhGrad": lambda op, y, dy: dy * (1.0 - y * y),
    "SoftplusGrad": lambda op, dy, x: dy * tf.sigmoid(x),
    "SoftsignGrad": lambda op, dy, x: dy / tf.square(1.0 + tf.abs(x)),
    "RsqrtGrad": lambda op, y, dy: -0.5 * dy * y * y * y,
    "SqrtGrad": lambda op, y, dy: 0.5 * dy / y,
    "ReciprocalGrad": lambda op, y, dy: -dy * y * y,
    "Softsign": lambda op, x: x / (1.0 + tf.abs(x)),
    "Softplus": lambda op, x: tf.maximum(x, 0.0) + _log1p(tf.exp(-tf.abs(x))),
    "Erf": lambda op, x: 1.0 - _erfc(x),
    "Erfc": lambda op, x: _erfc(x),
    "Expm1": lambda op, x: _expm1(x),
    "Log1p": lambda op, x: _log1p(x),
    "IsNan": lambda op, x: tf.not_equal(x, x),
    "ReadVariableOp": lambda op, value: value,
    "ShapeN": lambda op, *tensors: [tf.shape(tensor) for tensor in tensors],
}

for _operation, _function in _ELEMENTWISE.items():
    RULES.register(_operation)(_function)


def _expm1(x: Tensor) -> Tensor:
    """`exp(x) - 1` loses the digits that the score is made of; this keeps them."""
    t = tf.tanh(0.5 * x)
    return 2.0 * t / (1.0 - t)


def _log1p(x: Tensor) -> Tensor:
    """`2 atanh(x / (2 + x))` by its series where x is small.

    Not by logarithms of numbers close to 1, as Kahan does: interpreters compute them within one
    rounding error of 1, not of the result.
    """
    s = x / (2.0 + x)
    q = s * s
    series = 1.0 / 11.0
    for divisor in (9.0, 7.0, 5.0, 3.0, 1.0):
        series = q * series + 1.0 / divisor
    return tf.where(tf.abs(x) < 0.3, 2.0 * s * series, tf.math.log(1.0 + x))


# Chebyshev fit, of degree 9 in t = 1 / (1 + |x| / 2), to log(erfc(|x|) / t) + x^2.
_ERFC = (
    *(0.170872778, -0.822152234, 1.48851589, -1.135204, 0.278868084),
    *(-0.186288062, 0.0967841895, 0.37409196, 1.00002368, -1.26551223),
)


def _erfc(x: Tensor) -> Tensor:
    """1 - erf(x), within 4e-7."""
    t = 1.0 / (1.0 + 0.5 * tf.abs(x))
    exponent = _ERFC[0] * tf.ones_like(t)
    for coefficient in _ERFC[1:]:
        exponent = exponent * t + coefficient
    upper = t * tf.exp(exponent - x * x)
    return tf.where(x < 0.0, 2.0 - upper, upper)


@RULES.register("BitwiseAnd")
def _bitwise_and(op: tf.Operation, x: Tensor, mask: Tensor) -> Tensor:
    """Keras's argmax looks at the sign bit of -0.0, and at no other."""
    sign_bit = np.iinfo("int32").min
    if x.dtype != tf.int32 or tf.get_static_value(mask) != sign_bit:
        raise UnwritableError("other bits than the sign")
    return tf.where(x < 0, sign_bit, 0)


@RULES.register("BroadcastGradientArgs")
def _broadcast_gradient_args(op: tf.Operation, *shapes: Tensor) -> Tensor:
    a, b = (known_shape(tensor) for tensor in op.inputs)
    rank = max(len(a), len(b))
    for shape in (a, b):
        shape[:0] = [1] * (rank - len(shape))
    return [
        tf.constant([n for n in range(rank) if x[n] == 1 and y[n] != 1], tf.int32)
        for x, y in ((a, b), (b, a))
    ]


@RULES.register("DynamicStitch")
def _dynamic_stitch(op: tf.Operation, *inputs: Tensor) -> Tensor:
    """The shape of a reduced tensor: numbers at places that are known."""
    count = len(inputs) // 2
    places = [known_value(tensor) for tensor in op.inputs[:count]]
    found: dict[int, Tensor] = {}
    for place, values in zip(places, inputs[count:], strict=True):
        for n, target in enumerate(np.ravel(place)):
            found[int(target)] = tf.reshape(values, [-1])[n]
    return tf.stack([found[n] for n in range(len(found))])


@RULES.register("ConcatOffset")
def _concat_offset(op: tf.Operation, axis: Tensor, *shapes: Tensor) -> Tensor:
    place = int(known_value(op.inputs[0]))
    offsets, at = [], 0
    for shape in map(known_shape, op.inputs[1:]):
        size = shape[place]
        if size is None:
            raise UnwritableError("concatenation along a free size")
        offset = np.zeros(len(shape), "int32")
        offset[place] = at
        offsets.append(tf.constant(offset))
        at += size
    return offsets


@RULES.register(
    "ResizeBilinearGrad", "ResizeBicubicGrad", "ResizeNearestNeighborGrad", "ScaleAndTranslateGrad"
)
def _resizing_gradient(op: tf.Operation, dy: Tensor, *others: Tensor) -> Tensor:
    forward = op.type.removesuffix("Grad")
    sizes = zip(op.outputs[0].shape[1:3], dy.shape[1:3], strict=True)
    return resized(dy, [matrix.T for matrix in _resizing_matrices(op, forward, sizes)])


@RULES.register("ResizeBicubic", "ResizeArea", "ScaleAndTranslate")
def _resizing(op: tf.Operation, x: Tensor, *others: Tensor) -> Tensor:
    sizes = zip(x.shape[1:3], op.outputs[0].shape[1:3], strict=True)
    return resized(tf.cast(x, tf.float32), _resizing_matrices(op, op.type, sizes))


def _resizing_matrices(
    op: tf.Operation, forward: str, sizes: Iterable[tuple[int | None, int | None]]
) -> list[np.ndarray]:
    known = [(before, after) for before, after in sizes if before and after]
    if len(known) < 2:
        raise UnwritableError("free image sizes")
    options = {name: value for name, value in attributes(op).items() if name != "T"}
    places: list[dict[str, object]] = [{}, {}]
    if forward == "ScaleAndTranslate":
        scale, shift = (known_value(tensor) for tensor in op.inputs[2:])
        places = [
            {"scale": [scale[axis], 1.0], "translation": [shift[axis], 0.0]} for axis in (0, 1)
        ]
    return [
        resizing_matrix(forward, before, after, {**options, **place})
        for (before, after), place in zip(known, places, strict=True)
    ]


@RULES.register("StridedSliceGrad")
def _strided_slice_grad(
    op: tf.Operation, shape: Tensor, begin: Tensor, end: Tensor, step: Tensor, dy: Tensor
) -> Tensor:
    """Zeros around the gradient, and between its values where the slice skipped some."""
    masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "end", "shrink_axis")}
    if op.get_attr("ellipsis_mask") or op.get_attr("new_axis_mask"):
        raise UnwritableError("slices with an ellipsis or a new axis")
    sizes = known_shape(op.inputs[0])
    axes = {}
    for axis, limits in enumerate(zip(*map(known_value, op.inputs[1:4]), strict=True)):
        first, last, stride = (int(limit) for limit in limits)
        without = {name for name, mask in masks.items() if mask & 1 << axis}
        if {"begin", "end"} <= without and stride == 1:
            continue
        size = sizes[axis]
        if size is None or stride < 1:
            raise UnwritableError("slices of a free size, or backwards")
        start = None if "begin" in without else first
        stop = None if "end" in without else last
        if "shrink_axis" in without:
            dy, start, stop = tf.expand_dims(dy, axis), first, first + 1 or None
        taken = range(size)[start:stop:stride]
        dy = spread(dy, axis, stride)
        axes[axis] = (taken.start, size)
    return placed(dy, axes, 0.0)


@RULES.register("MaxPoolGrad")
def _max_pool_grad(op: tf.Operation, x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
    """The gradient goes to the first largest value of each window, as in TensorFlow."""
    frame = window(op, x, y)
    free = tf.ones_like(y)
    pieces = []
    for values in gather_windows(x, frame, x.dtype.min):
        taken = tf.where(tf.equal(values, y), free, 0.0)
        free = free - taken
        pieces.append(taken * dy)
    return scatter_windows(pieces, frame)


@RULES.register("AvgPoolGrad")
def _avg_pool_grad(op: tf.Operation, shape: Tensor, dy: Tensor) -> Tensor:
    frame = window(op, op.outputs[0], dy)
    share = dy / tf.constant(counts(frame))
    return scatter_windows([share] * (len(list(offsets(frame)))), frame)


@RULES.register("DepthwiseConv2dNativeBackpropInput")
def _depthwise_gradient(op: tf.Operation, shape: Tensor, kernel: Tensor, dy: Tensor) -> Tensor:
    """A depthwise convolution of the gradient, zeros between its values, with the kernel turned."""
    if max(op.get_attr("dilations")) > 1:
        raise UnwritableError("dilated convolution")
    height, width, channels, multiplier = kernel.shape
    frame = window(op, op.outputs[0], dy, (height, width))
    dy = spread(spread(dy, 2, frame.strides[1]), 1, frame.strides[0])
    (above, before), (rows, columns) = frame.padding()[0], frame.input_sizes
    dy = placed(
        dy,
        {1: (height - 1 - above, rows + height - 1), 2: (width - 1 - before, columns + width - 1)},
        0.0,
    )
    turned = tf.reshape(kernel, [height, width, channels * multiplier, 1])[::-1, ::-1]
    gradient = tf.nn.depthwise_conv2d(dy, turned, [1, 1, 1, 1], "VALID")
    if multiplier == 1:
        return gradient
    split = tf.reshape(gradient, [-1, rows, columns, channels, multiplier])
    return tf.reduce_sum(split, axis=-1)


@RULES.register("Conv2DBackpropInput")
def _convolution_gradient(op: tf.Operation, shape: Tensor, kernel: Tensor, dy: Tensor) -> Tensor:
    """LiteRT has a transposed convolution, of one group."""
    if max(op.get_attr("dilations")) > 1:
        raise UnwritableError("dilated convolution")
    _, rows, columns, channels = op.outputs[0].shape
    if None in (rows, columns):
        raise UnwritableError("free image sizes")
    groups = channels // kernel.shape[2]
    size = tf.stack([tf.shape(dy)[0], rows, columns, kernel.shape[2]])
    strides, padding = op.get_attr("strides"), op.get_attr("padding").decode()
    parts = [
        tf.nn.conv2d_transpose(dy_part, kernel_part, size, strides, padding)
        for dy_part, kernel_part in zip(
            tf.split(dy, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True
        )
    ]
    return parts[0] if groups == 1 else tf.concat(parts, axis=-1)
