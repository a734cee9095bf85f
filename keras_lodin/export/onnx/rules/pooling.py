"""Max and average pooling with their gradients.

The forward passes are here for free sizes: runtimes refuse "SAME" padding where a stride is larger
than the window, as the windows may then end before the image does.
"""

from __future__ import annotations

import math

import numpy as np

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.export.onnx.rules.convolution import convolution_adjoint
from keras_lodin.export.onnx.rules.geometry import Window, window_of
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("MaxPool", "MaxPool3D")
def max_pooling(builder: Builder) -> str:
    """With y[m] = max of x over window m; the padding is never the largest."""
    (inputs,) = builder.inputs
    window = _window(builder, builder.shape(inputs), builder.output_shape())
    first, pads = _padded(builder, builder.channels_first(inputs), window, -np.inf)
    pooled = builder.op("MaxPool", first, **_attributes(window, pads))
    return builder.channels_last(pooled, len(builder.known_shape(inputs)))


@RULES.register("AvgPool", "AvgPool3D")
def average_pooling(builder: Builder) -> str:
    """With c[m] the pixels of window m in the image: y[m] = sum of x over window m / c[m]."""
    (inputs,) = builder.inputs
    window = _window(builder, builder.shape(inputs), builder.output_shape())
    first, pads = _padded(builder, builder.channels_first(inputs), window, 0.0)
    pooled = builder.op("AveragePool", first, **_attributes(window, pads))
    if pads:
        # The zeros were counted. The same average of ones is the fraction that was not zeros.
        sizes = builder.sizes_of(builder.channels_first(inputs), 2)
        ones = builder.op("Expand", builder.constant(np.float32(1.0)), sizes)
        ones = builder.op("Pad", builder.op("Unsqueeze", ones, [0, 1]), pads)
        part = builder.op("AveragePool", ones, **_attributes(window, pads))
        pooled = builder.op("Div", pooled, part)
    return builder.channels_last(pooled, len(builder.known_shape(inputs)))


@RULES.register("MaxPoolGrad", "MaxPool3DGrad")
def max_pooling_gradient(builder: Builder) -> str:
    """With y[m] = x[n(m)], n(m) the largest pixel of window m: dx[n] = sum of dy[m] with n(m) = n.

    Windows that overlap may pick the same pixel, so the gradients are added up: ONNX's MaxPool
    gives n(m) as an index into the flat tensor, and ScatterElements adds dy there.
    """
    inputs, outputs, upstream = builder.inputs
    window = _window(builder, builder.shape(inputs), builder.shape(outputs))
    first, pads = _padded(builder, builder.channels_first(inputs), window, -np.inf)
    _, places = builder.ops("MaxPool", 2, first, **_attributes(window, pads))
    shape = builder.shape_of(first)
    zeros = builder.op("ConstantOfShape", builder.op("ReduceProd", shape, keepdims=1))
    added = builder.op(
        "ScatterElements",
        zeros,
        builder.op("Reshape", places, [-1]),
        builder.op("Reshape", builder.channels_first(upstream), [-1]),
        axis=0,
        reduction="add",
    )
    gradient = builder.op("Reshape", added, shape)
    if pads:
        gradient = builder.op("Pad", gradient, builder.op("Neg", pads))
    return builder.channels_last(gradient, len(builder.known_shape(inputs)))


@RULES.register("AvgPoolGrad", "AvgPool3DGrad")
def average_pooling_gradient(builder: Builder) -> str:
    """With y[m] = mean of window m, c[m] pixels: dx[n] = sum of dy[m] / c[m] over m that see n.

    c counts the pixels of the window that lie in the image. What remains is the adjoint of a
    convolution with a kernel of ones, the same for every channel: channels join the batch.
    """
    sizes, upstream = builder.inputs
    rank = len(builder.known_shape(upstream))
    channels = builder.known_shape(upstream)[-1]
    window = _window(builder, builder.output_shape(), builder.shape(upstream))
    first = builder.channels_first(upstream)
    kernel = builder.constant(np.ones((1, 1, *window.kernel), "float32"))
    share = builder.op("Div", first, _counts(builder, kernel, window, sizes))
    single = _with_spatial(builder, share, first, window.output_sizes, [builder.constant([-1, 1])])
    gradient = convolution_adjoint(builder, single, kernel, window, 1, sizes)
    size = builder.size_of(first, 1) if channels is None else builder.constant([channels])
    joined = _with_spatial(
        builder, gradient, gradient, window.input_sizes, [builder.constant([-1]), size]
    )
    return builder.channels_last(joined, rank)


def _window(
    builder: Builder, inputs: list[int | None] | None, outputs: list[int | None] | None
) -> Window:
    return window_of(builder, list(builder.attribute("ksize"))[1:-1], inputs, outputs)


def _with_spatial(
    builder: Builder, tensor: str, like: str, sizes: list[int] | None, leading: list[str]
) -> str:
    """A tensor in another shape: the leading sizes, then the spatial ones of `like`."""
    spatial = builder.sizes_of(like, 2) if sizes is None else builder.constant(sizes)
    return builder.op("Reshape", tensor, builder.concat([*leading, spatial]))


def _counts(builder: Builder, kernel: str, window: Window, sizes: str) -> str:
    """Pixels of the image in each window, of shape (1, 1, *spatial) or a scalar."""
    if window.kind == "VALID":
        return builder.constant(np.float32(math.prod(window.kernel)))
    spatial = builder.op("Slice", builder.cast_to_int64(sizes), [1], [1 + len(window.kernel)])
    ones = builder.op("Expand", builder.constant(np.float32(1.0)), spatial)
    image, pads = _padded(builder, builder.op("Unsqueeze", ones, [0, 1]), window, 0.0)
    return builder.op("Conv", image, kernel, **_attributes(window, pads))


def _padded(builder: Builder, first: str, window: Window, value: float) -> tuple[str, str | None]:
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
        pixels = builder.size_of(first, axis + 2)
        windows = builder.op("Div", builder.op("Add", pixels, stride - 1), stride)
        covered = builder.op("Add", builder.op("Mul", windows, stride), size - stride)
        excess = builder.op("Sub", covered, pixels)
        before.append(builder.op("Div", builder.op("Max", excess, 0), 2))
        # Negative where the windows end before the image: those pixels are cut off.
        after.append(builder.op("Sub", excess, before[-1]))
    none = builder.constant([0, 0])
    pads = builder.concat([none, *before, none, *after])
    return builder.op("Pad", first, pads, builder.like(first, value)), pads


def _attributes(window: Window, pads: str | None) -> dict[str, object]:
    """ONNX's attributes of the windows; where `pads` are given, the padding is done."""
    if pads:
        return {"kernel_shape": window.kernel, "strides": window.strides}
    return window.attributes()
