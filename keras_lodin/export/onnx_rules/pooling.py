"""Gradients of max and average pooling."""

from __future__ import annotations

import math

import numpy as np

from keras_lodin.export.onnx_rules.builder import Builder
from keras_lodin.export.onnx_rules.convolution import convolution_adjoint
from keras_lodin.export.onnx_rules.geometry import Window, window_of
from keras_lodin.export.onnx_rules.registry import rule


@rule("MaxPoolGrad", "MaxPool3DGrad")
def max_pooling_gradient(builder: Builder) -> str:
    """y[m] = x[n(m)], n(m) the largest pixel of window m: dx[n] = sum of dy[m] with n(m) = n.

    Windows that overlap may pick the same pixel, so the gradients are added up: ONNX's MaxPool
    gives n(m) as an index into the flat tensor, and ScatterElements adds dy there.
    """
    inputs, _, upstream = builder.inputs
    rank = len(builder.known_shape(inputs))
    window = window_of(builder, list(builder.attribute("ksize"))[1:-1])
    first = builder.channels_first(inputs)
    _, places = builder.ops(
        "MaxPool", 2, first, kernel_shape=window.kernel, strides=window.strides, **_pads(window)
    )
    flat = [-1]
    shape = builder.shape_of(first)
    zeros = builder.op("ConstantOfShape", builder.op("ReduceProd", shape, keepdims=1))
    added = builder.op(
        "ScatterElements",
        zeros,
        builder.op("Reshape", places, flat),
        builder.op("Reshape", builder.channels_first(upstream), flat),
        axis=0,
        reduction="add",
    )
    return builder.channels_last(builder.op("Reshape", added, shape), rank)


@rule("AvgPoolGrad", "AvgPool3DGrad")
def average_pooling_gradient(builder: Builder) -> str:
    """y[m] = sum of x over window m / c[m]: dx[n] = sum of dy[m] / c[m] over windows m that see n.

    c counts the pixels of the window that lie in the image. What remains is the adjoint of a
    convolution with a kernel of ones, the same for every channel: channels join the batch.
    """
    sizes, upstream = builder.inputs
    rank = len(builder.known_shape(upstream))
    channels = builder.known_shape(upstream)[-1]
    window = window_of(builder, list(builder.attribute("ksize"))[1:-1])
    first = builder.channels_first(upstream)
    spatial_of = _spatial_shape(builder, first, window.output_sizes)
    kernel = builder.constant(np.ones((1, 1, *window.kernel), "float32"))
    share = builder.op("Div", first, _counts(builder, kernel, window, sizes, upstream))
    single = builder.op("Reshape", share, builder.concat([builder.constant([-1, 1]), spatial_of]))
    gradient = convolution_adjoint(builder, single, kernel, window, 1, sizes)
    size = builder.size_of(first, 1) if channels is None else builder.constant([channels])
    spatial_of = _spatial_shape(builder, gradient, window.input_sizes)
    joined = builder.op(
        "Reshape", gradient, builder.concat([builder.constant([-1]), size, spatial_of])
    )
    return builder.channels_last(joined, rank)


def _spatial_shape(builder: Builder, tensor: str, sizes: list[int] | None) -> str:
    """Spatial sizes of a tensor with the channels first, as a tensor."""
    return builder.sizes_of(tensor, 2) if sizes is None else builder.constant(sizes)


def _counts(builder: Builder, kernel: str, window: Window, sizes: str, upstream: str) -> str:
    """Pixels of the image in each window, of shape (1, 1, *spatial) or a scalar."""
    if window.kind == "VALID":
        return builder.constant(np.float32(math.prod(window.kernel)))
    image = builder.op("Slice", builder.cast_to_int64(sizes), [1], [1 + len(window.kernel)])
    ones = builder.op("Expand", builder.constant(np.float32(1.0)), image)
    return builder.op(
        "Conv",
        builder.op("Unsqueeze", ones, [0, 1]),
        kernel,
        kernel_shape=window.kernel,
        strides=window.strides,
        **_pads(window),
    )


def _pads(window: Window) -> dict[str, object]:
    """ONNX's attribute for the padding. A free size leaves it to ONNX, which pads as TensorFlow."""
    if window.kind == "VALID":
        return {}
    if window.input_sizes is None or window.output_sizes is None:
        return {"auto_pad": "SAME_UPPER"}
    before, after = window.padding()
    return {"pads": before + [max(n, 0) for n in after]}
