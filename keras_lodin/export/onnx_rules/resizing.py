"""Gradients of image resizing.

Resizing is linear and separable: y = R_h x R_w^T, one small matrix per axis. So dx = R_h^T dy R_w.
The matrices have closed forms, which also serve free sizes.
"""

from __future__ import annotations

from onnx import TensorProto

from keras_lodin.export.onnx_rules.builder import Builder
from keras_lodin.export.onnx_rules.registry import rule


@rule("ResizeBilinearGrad")
def bilinear_resizing_gradient(builder: Builder) -> str:
    """R[o, i] = max(0, 1 - |s(o) - i|), s(o) the place of output pixel o in the input.

    s(o) is held inside the image: the border pixel repeats.
    """
    upstream, original = builder.inputs
    return _resizing_adjoint(builder, upstream, builder.sizes_of(original, 1, 3), True)


@rule("ResizeNearestNeighbor")
def nearest_resizing(builder: Builder) -> str:
    """Output pixel o copies input pixel s(o). ONNX's Resize deprecates TensorFlow's rounding."""
    images, sizes = builder.inputs
    sizes = builder.cast_to_int64(sizes)
    for axis in (1, 2):
        wanted = builder.op("Slice", sizes, [axis - 1], [axis])
        places = _places(builder, builder.size_of(images, axis), wanted, False)
        images = builder.op("Gather", images, builder.cast_to_int64(places), axis=axis)
    return images


@rule("ResizeNearestNeighborGrad")
def nearest_resizing_gradient(builder: Builder) -> str:
    """R[o, i] = 1 where pixel i is the one that output pixel o copies, else 0."""
    upstream, sizes = builder.inputs
    return _resizing_adjoint(builder, upstream, builder.cast_to_int64(sizes), False)


def _resizing_adjoint(builder: Builder, upstream: str, sizes: str, bilinear: bool) -> str:
    """R_h^T dy R_w, on the two spatial axes.

    Args:
        builder: at the gradient node.
        upstream: dy, (batch, height, width, channels).
        sizes: (height, width) of x: int64.
        bilinear: which of the two kinds of matrix.
    """
    gradient = builder.channels_first(upstream)
    height, width = (
        _matrix(
            builder,
            builder.op("Slice", sizes, [axis], [axis + 1]),
            builder.size_of(upstream, axis + 1),
            bilinear,
        )
        for axis in (0, 1)
    )
    rows = builder.op("MatMul", builder.transpose(height, [1, 0]), gradient)
    return builder.channels_last(builder.op("MatMul", rows, width), 4)


def _matrix(builder: Builder, inputs: str, outputs: str, bilinear: bool) -> str:
    """The matrix R of one axis, (outputs, inputs), from its sizes: int64 of shape (1,)."""
    place = _places(builder, inputs, outputs, bilinear)
    distance = builder.op(
        "Abs",
        builder.op(
            "Sub",
            builder.op("Unsqueeze", place, [1]),
            builder.op("Unsqueeze", _range(builder, inputs), [0]),
        ),
    )
    return builder.op("Relu", builder.op("Sub", builder.like(distance, 1.0), distance))


def _places(builder: Builder, inputs: str, outputs: str, bilinear: bool) -> str:
    """The place s(o) in the input of each output pixel, float32, as TensorFlow rounds it."""
    outputs_float = builder.cast(outputs, TensorProto.FLOAT)
    inputs_float = builder.cast(inputs, TensorProto.FLOAT)
    last = builder.op("Sub", inputs_float, 1.0)
    if builder.attribute("align_corners", 0):
        gaps = builder.op("Max", builder.op("Sub", outputs_float, 1.0), 1.0)
        scale = builder.op("Div", last, gaps)
    else:
        scale = builder.op("Div", inputs_float, outputs_float)
    place = _range(builder, outputs)
    if builder.attribute("half_pixel_centers", 0):
        place = builder.op("Mul", builder.op("Add", place, 0.5), scale)
        if bilinear:
            place = builder.op("Sub", place, 0.5)
    else:
        place = builder.op("Mul", place, scale)
    if not bilinear:
        if builder.attribute("align_corners", 0):
            # Half away from zero, as C rounds; ONNX's Round takes halves to the even number.
            place = builder.op("Add", place, 0.5)
        place = builder.op("Floor", place)
    return builder.op("Min", builder.op("Max", place, 0.0), last)


def _range(builder: Builder, size: str) -> str:
    """0, 1, ... below a size given as int64 of shape (1,): float32."""
    limit = builder.op("Squeeze", size, [0])
    numbers = builder.op("Range", builder.constant(0), limit, builder.constant(1))
    return builder.cast(numbers, TensorProto.FLOAT)
