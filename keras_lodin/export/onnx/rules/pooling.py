"""Max and average pooling with their gradients.

The forward passes are here for free sizes: runtimes refuse "SAME" padding where a stride is larger
than the window, as the windows may then end before the image does.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
from onnx import TensorProto

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.convolution import convolution_adjoint
from keras_lodin.export.onnx.rules.geometry import forward_attributes
from keras_lodin.export.onnx.rules.registry import RULES
from keras_lodin.export.windows import Window, window_of

# Pixels of a window that are compared one after the other at most: those of 3 x 3 x 3.
_MOST_PIXELS = 27
# Up to here float32 has every whole number.
_MOST_WHOLE_NUMBERS = 2**24


@RULES.register("MaxPool", "MaxPool3D")
def max_pooling(builder: Builder, x: Value) -> Value:
    """With y[m] = max of x over window m; the padding is never the largest."""
    window = _window(builder, x, builder.output)
    first, pads = _padded(builder, x.channels_first(), window, -np.inf)
    return first.op("MaxPool", **_attributes(window, pads)).channels_last(x.rank)


@RULES.register("AvgPool", "AvgPool3D")
def average_pooling(builder: Builder, x: Value) -> Value:
    """With c[m] the pixels of window m in the image: y[m] = sum of x over window m / c[m]."""
    window = _window(builder, x, builder.output)
    first, pads = _padded(builder, x.channels_first(), window, 0.0)
    pooled = first.op("AveragePool", **_attributes(window, pads))
    if pads:
        # The zeros were counted. The same average of ones is the fraction that was not zeros.
        ones = builder.constant(np.float32(1.0)).op("Expand", x.channels_first().sizes(2))
        ones = ones.op("Unsqueeze", [0, 1]).op("Pad", pads)
        pooled /= ones.op("AveragePool", **_attributes(window, pads))
    return pooled.channels_last(x.rank)


@RULES.register("MaxPoolGrad", "MaxPool3DGrad")
def max_pooling_gradient(builder: Builder, x: Value, y: Value, dy: Value) -> Value:
    """With y[m] = x[n(m)], n(m) the first largest pixel of window m: dx[n] sums dy[m], n(m) = n.

    Windows that overlap may pick the same pixel, so the gradients are added up: n(m) is an index
    into the flat tensor, and ScatterElements adds dy there. ONNX's MaxPool gives n(m) too, but
    onnxruntime then goes through the pixels one by one.
    """
    window = _window(builder, x, y)
    if _is_comparable(x, window):
        return _gradient_by_comparisons(builder, x, y, dy, window)
    first, pads = _padded(builder, x.channels_first(), window, -np.inf)
    _, places = builder.ops("MaxPool", 2, first, **_attributes(window, pads))
    shape = first.op("Shape")
    zeros = shape.op("ReduceProd", keepdims=1).op("ConstantOfShape")
    places, values = places.reshape(-1), dy.channels_first().reshape(-1)
    added = zeros.op("ScatterElements", places, values, axis=0, reduction="add")
    gradient = added.reshape(shape)
    if pads:
        gradient = gradient.op("Pad", -pads)
    return gradient.channels_last(x.rank)


@RULES.register("AvgPoolGrad", "AvgPool3DGrad")
def average_pooling_gradient(builder: Builder, sizes: Value, dy: Value) -> Value:
    """With y[m] = mean of window m, c[m] pixels: dx[n] = sum of dy[m] / c[m] over m that see n.

    c counts the pixels of the window that lie in the image. What remains is the adjoint of a
    convolution with a kernel of ones, the same for every channel: channels join the batch.
    """
    channels = dy.known_shape[-1]
    window = _window(builder, builder.output, dy)
    first = dy.channels_first()
    kernel = builder.constant(np.ones((1, 1, *window.kernel), "float32"))
    share = first / _counts(builder, kernel, window, sizes)
    single = share.reshape(-1, 1, *_spatial(first, window.output_sizes))
    gradient = convolution_adjoint(builder, single, kernel, window, 1, sizes)
    size = first.size(1) if channels is None else channels
    joined = gradient.reshape(-1, size, *_spatial(gradient, window.input_sizes))
    return joined.channels_last(dy.rank)


def _is_comparable(x: Value, window: Window) -> bool:
    """Whether `_gradient_by_comparisons` can be written: sizes known, its numbers exact."""
    if window.free or x.dtype != TensorProto.FLOAT or not x.known_shape[-1]:
        return False
    if not 1 < math.prod(window.kernel) <= _MOST_PIXELS:
        return False
    reach = math.prod([window.kernel[0], *_padded_sizes(window)[1:], x.known_shape[-1]])
    return reach < _MOST_WHOLE_NUMBERS


def _padded_sizes(window: Window) -> list[int]:
    before, after = window.padding()
    # Windows may end before the input does.
    return [b + n + max(a, 0) for b, n, a in zip(before, window.input_sizes, after, strict=True)]


def _gradient_by_comparisons(
    builder: Builder, x: Value, y: Value, dy: Value, window: Window
) -> Value:
    """The gradient of max pooling: a pixel of all windows at once is compared with y.

    Where it is equal it bids how far before the window's last pixel it lies in the flat tensor; the
    highest bid is the first pixel's. The last one bids nothing, and is taken where nobody bids.
    """
    before, after = window.padding()
    sizes, channels = _padded_sizes(window), x.known_shape[-1] or 0
    if max(before + after) > 0:
        x = x.op("Pad", [0, *before, 0, 0, *(max(n, 0) for n in after), 0], -np.inf)
    # tf2onnx moves transposes past slices, but not past this: what is copied are whole pixels.
    rows = x.reshape(-1, *sizes, channels)
    largest = y.reshape(-1, *window.output_sizes, channels)
    flat = np.arange(math.prod([*sizes, channels])).reshape(*sizes, channels)
    axes = [1 + axis for axis in range(len(sizes))]
    *others, last = (
        [
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(pixel, window.output_sizes, window.strides, strict=True)
        ]
        for pixel in itertools.product(*map(range, window.kernel))
    )
    places = flat[tuple(last)]
    bids = []
    for parts in others:
        starts, ends = [part.start for part in parts], [part.stop for part in parts]
        part = rows.op("Slice", starts, ends, axes, window.strides)
        bid = float(places.flat[0] - flat[tuple(parts)].flat[0])
        bids.append(part.op("Equal", largest).cast(TensorProto.FLOAT) * bid)
    # Two at a time: onnxruntime takes more of them twice as long.
    highest = functools.reduce(lambda one, other: one.op("Max", other), bids)
    before_last = highest.cast(TensorProto.INT32).reshape(-1, places.size // channels, channels)
    # Not from one constant of all places: a file would hold it, and it is as large as y.
    pixels = builder.constant(places[..., :1].reshape(1, -1, 1), "int32")
    found = pixels - (before_last - builder.constant(np.arange(channels), "int32"))
    zeros = x.op("Shape").op("ConstantOfShape").reshape(-1, flat.size)
    found, values = (value.reshape(-1, places.size) for value in (found, dy))
    added = zeros.op("ScatterElements", found, values, axis=1, reduction="add")
    gradient = added.reshape(-1, *sizes, channels)
    if sizes == window.input_sizes:
        return gradient
    ends = [b + n for b, n in zip(before, window.input_sizes, strict=True)]
    return gradient.op("Slice", before, ends, axes)


def _window(builder: Builder, inputs: Value, outputs: Value) -> Window:
    kernel = list(builder.attribute("ksize"))[1:-1]
    return window_of(builder.attribute, kernel, inputs.shape, outputs.shape)


def _spatial(tensor: Value, sizes: list[int]) -> list[Value] | list[int]:
    """The spatial sizes of a tensor, channels first: numbers where they are known."""
    return sizes or [tensor.sizes(2)]


def _counts(builder: Builder, kernel: Value, window: Window, sizes: Value) -> Value:
    """Pixels of the image in each window, of shape (1, 1, *spatial) or a scalar."""
    if window.kind == "VALID":
        return builder.constant(np.float32(math.prod(window.kernel)))
    spatial = sizes.int64().op("Slice", [1], [1 + len(window.kernel)])
    ones = builder.constant(np.float32(1.0)).op("Expand", spatial)
    image, pads = _padded(builder, ones.op("Unsqueeze", [0, 1]), window, 0.0)
    return image.op("Conv", kernel, **_attributes(window, pads))


def _padded(
    builder: Builder, first: Value, window: Window, value: float
) -> tuple[Value, Value | None]:
    """Pads by hand what no attribute can: free sizes with a stride larger than the window.

    Returns:
        the padded tensor, channels first, and the amounts; the tensor as it was and None where
        `_attributes` says it.
    """
    gaps = any(s > k for s, k in zip(window.strides, window.kernel, strict=True))
    if not (window.free and gaps and window.kind == "SAME"):
        return first, None
    before, after = [], []
    for axis, (size, stride) in enumerate(zip(window.kernel, window.strides, strict=True)):
        pixels = first.size(axis + 2)
        windows = (pixels + (stride - 1)) // stride
        excess = windows * stride + (size - stride) - pixels
        before.append(excess.op("Max", 0) // 2)
        # Negative where the windows end before the image: those pixels are cut off.
        after.append(excess - before[-1])
    pads = builder.shape(0, 0, *before, 0, 0, *after)
    return first.op("Pad", pads, value), pads


def _attributes(window: Window, pads: Value | None) -> dict[str, object]:
    """ONNX's attributes of the windows; where `pads` are given, the padding is done."""
    if pads:
        return {"kernel_shape": window.kernel, "strides": window.strides}
    return forward_attributes(window)
