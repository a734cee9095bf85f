"""Image resizing, where ONNX's own is another one, and its gradients.

Resizing is linear and separable: y = R_h x R_w^T, one small matrix per axis. So dx = R_h^T dy R_w.
The matrices have closed forms, which also serve free sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.export.onnx.rules.registry import RULES

# What gives the matrix of one axis, from the sizes of x and y along it.
Matrix = Callable[[Builder, int, str, str], str]
# The weight of a pixel by its distance.
Kernel = Callable[[Builder, str], str]


@RULES.register("ResizeBilinearGrad")
def bilinear_resizing_gradient(builder: Builder) -> str:
    """R[o, i] = max(0, 1 - |s(o) - i|), s(o) the place of output pixel o in the input.

    s(o) is held inside the image: the border pixel repeats.
    """
    upstream, original = builder.inputs
    return _resizing_adjoint(builder, upstream, builder.sizes_of(original, 1, 3), True)


@RULES.register("ResizeNearestNeighbor")
def nearest_resizing(builder: Builder) -> str:
    """Output pixel o copies input pixel s(o). ONNX's Resize deprecates TensorFlow's rounding."""
    images, sizes = builder.inputs
    sizes = builder.cast_to_int64(sizes)
    for axis in (1, 2):
        wanted = builder.op("Slice", sizes, [axis - 1], [axis])
        places = _places(builder, builder.size_of(images, axis), wanted, False)
        images = builder.op("Gather", images, builder.cast_to_int64(places), axis=axis)
    return images


@RULES.register("ResizeNearestNeighborGrad")
def nearest_resizing_gradient(builder: Builder) -> str:
    """R[o, i] = 1 where pixel i is the one that output pixel o copies, else 0."""
    upstream, sizes = builder.inputs
    return _resizing_adjoint(builder, upstream, builder.cast_to_int64(sizes), False)


@RULES.register("ResizeBicubic")
def bicubic_resizing(builder: Builder) -> str:
    """R[o, i] = k(|s(o) - i|), k the cubic kernel, each row divided by its sum.

    Pixels outside the image count nothing. TensorFlow looks k up in a table, so the fraction of
    the place s(o) is a multiple of 1/1024.
    """
    images, sizes = builder.inputs
    sizes = builder.cast_to_int64(sizes)
    return _resized(builder, images, _both(builder, images, sizes, _cubic_matrix))


@RULES.register("ResizeArea")
def area_resizing(builder: Builder) -> str:
    """R[o, i] the part of output pixel o that pixel i covers, of sizes that are not free.

    TensorFlow has no derivative of it, so that there is none to write.
    """
    images, _ = builder.inputs
    before, after = builder.known_shape(images)[1:3], (builder.output_shape() or [])[1:3]
    sizes = [(x, y) for x, y in zip(before, after, strict=True) if x and y]
    if len(sizes) < 2 or builder.attribute("align_corners", 0):
        raise ValueError("the image sizes are free, or the corners aligned")
    down, right = (builder.constant(_area_matrix(*pair)) for pair in sizes)
    return _resized(builder, builder.cast(images, TensorProto.FLOAT), (down, right))


def _area_matrix(before: int, after: int) -> np.ndarray:
    pixels, width = np.arange(before), before / after
    start = width * np.arange(after)[:, None]
    covered = np.minimum(pixels + 1, start + width) - np.maximum(pixels, start)
    return (np.maximum(covered, 0.0) / width).astype("float32")


@RULES.register("ResizeBicubicGrad")
def bicubic_resizing_gradient(builder: Builder) -> str:
    """The adjoint of `bicubic_resizing`: R_h^T dy R_w."""
    upstream, original = builder.inputs
    sizes = builder.sizes_of(upstream, 1, 3)
    return _adjoint(builder, upstream, _both(builder, original, sizes, _cubic_matrix))


@RULES.register("ScaleAndTranslate")
def antialiased_resizing(builder: Builder) -> str:
    """R[o, i] = k(|i + 1/2 - s(o)| / a), k the method's kernel, each row divided by its sum.

    With m the number of output pixels per input pixel and t the shift, s(o) = (o + 1/2 - t) / m.
    The kernel is stretched by a = max(1 / m, 1), so that an image that is made smaller is blurred
    first; without `antialias`, a = 1.
    """
    images, sizes, *_ = builder.inputs
    sizes = builder.cast_to_int64(sizes)
    return _resized(builder, images, _both(builder, images, sizes, _kernel_matrix))


@RULES.register("ScaleAndTranslateGrad")
def antialiased_resizing_gradient(builder: Builder) -> str:
    """The adjoint of `antialiased_resizing`: R_h^T dy R_w."""
    upstream, original, *_ = builder.inputs
    sizes = builder.sizes_of(upstream, 1, 3)
    return _adjoint(builder, upstream, _both(builder, original, sizes, _kernel_matrix))


def _resizing_adjoint(builder: Builder, upstream: str, sizes: str, bilinear: bool) -> str:
    """R_h^T dy R_w for the two kinds without a kernel; `sizes` are x's (height, width): int64."""
    height, width = (
        _matrix(
            builder,
            builder.op("Slice", sizes, [axis], [axis + 1]),
            builder.size_of(upstream, axis + 1),
            bilinear,
        )
        for axis in (0, 1)
    )
    return _adjoint(builder, upstream, (height, width))


def _both(builder: Builder, images: str, sizes: str, matrix: Matrix) -> tuple[str, str]:
    """The matrices of height and width, from x and from y's (height, width): int64."""
    height, width = (
        matrix(
            builder,
            axis,
            builder.size_of(images, axis + 1),
            builder.op("Slice", sizes, [axis], [axis + 1]),
        )
        for axis in (0, 1)
    )
    return height, width


def _resized(builder: Builder, images: str, matrices: tuple[str, str]) -> str:
    """R_h x R_w^T, on the two spatial axes of (batch, height, width, channels)."""
    height, width = matrices
    rows = builder.op("MatMul", height, builder.channels_first(images))
    return builder.channels_last(builder.op("MatMul", rows, builder.transpose(width, [1, 0])), 4)


def _adjoint(builder: Builder, upstream: str, matrices: tuple[str, str]) -> str:
    """R_h^T dy R_w, on the two spatial axes of (batch, height, width, channels)."""
    height, width = matrices
    turned = builder.transpose(height, [1, 0])
    rows = builder.op("MatMul", turned, builder.channels_first(upstream))
    return builder.channels_last(builder.op("MatMul", rows, width), 4)


def _cubic_matrix(builder: Builder, axis: int, inputs: str, outputs: str) -> str:
    if not builder.attribute("half_pixel_centers", 0):
        raise ValueError("only bicubic resizing by the centers of pixels has an ONNX form")
    scale = builder.op(
        "Div", builder.cast(inputs, TensorProto.FLOAT), builder.cast(outputs, TensorProto.FLOAT)
    )
    place = builder.op("Mul", builder.op("Add", _range(builder, outputs), 0.5), scale)
    place = builder.op("Sub", place, 0.5)
    whole = builder.op("Floor", place)
    steps = builder.op("Round", builder.op("Mul", builder.op("Sub", place, whole), 1024.0))
    place = builder.op("Add", whole, builder.op("Div", steps, 1024.0))
    return _divided_by_sums(builder, _cubic(builder, _distances(builder, place, inputs, 0.0)))


def _kernel_matrix(builder: Builder, axis: int, inputs: str, outputs: str) -> str:
    kind = str(builder.attribute("kernel_type", "lanczos3"))
    if kind not in _KERNELS:
        raise ValueError(f"resizing with the kernel {kind!r}")
    scale, shift = (
        builder.op("Slice", tensor, [axis], [axis + 1]) for tensor in builder.inputs[2:4]
    )
    inverse = builder.op("Reciprocal", scale)
    centers = builder.op("Add", _range(builder, outputs), 0.5)
    place = builder.op(
        "Sub", builder.op("Mul", centers, inverse), builder.op("Mul", inverse, shift)
    )
    distance = _distances(builder, place, inputs, 0.5)
    if builder.attribute("antialias", 1):
        distance = builder.op("Div", distance, builder.op("Max", inverse, 1.0))
    weights = _KERNELS[kind](builder, distance)
    # A place outside the image gives no pixel at all.
    end = builder.cast(inputs, TensorProto.FLOAT)
    outside = builder.op("Or", builder.op("Less", place, 0.0), builder.op("Greater", place, end))
    inside = builder.cast(builder.op("Not", outside), TensorProto.FLOAT)
    return _divided_by_sums(
        builder, builder.op("Mul", weights, builder.op("Unsqueeze", inside, [1]))
    )


def _distances(builder: Builder, place: str, inputs: str, center: float) -> str:
    """|i + center - s(o)| of all pixels, (outputs, inputs)."""
    pixels = builder.op("Add", _range(builder, inputs), center)
    rows, columns = builder.op("Unsqueeze", place, [1]), builder.op("Unsqueeze", pixels, [0])
    return builder.op("Abs", builder.op("Sub", columns, rows))


def _divided_by_sums(builder: Builder, weights: str) -> str:
    """Each row divided by its sum; rows of zeros stay so."""
    total = builder.op("ReduceSum", weights, [1], keepdims=1)
    none = builder.op("Equal", total, 0.0)
    return builder.op("Div", weights, builder.op("Where", none, builder.like(total, 1.0), total))


def _triangle(builder: Builder, distance: str) -> str:
    """1 - x below 1."""
    return builder.op("Relu", builder.op("Sub", builder.like(distance, 1.0), distance))


def _cubic(builder: Builder, distance: str) -> str:
    """Keys's kernel: 3/2 x^3 - 5/2 x^2 + 1 below 1, -1/2 x^3 + 5/2 x^2 - 4 x + 2 from 1 to 2."""
    near = _polynomial(builder, distance, 1.5, -2.5, 0.0, 1.0)
    far = _polynomial(builder, distance, -0.5, 2.5, -4.0, 2.0)
    zero = builder.like(distance, 0.0)
    rest = builder.op("Where", builder.op("Less", distance, 2.0), far, zero)
    return builder.op("Where", builder.op("Less", distance, 1.0), near, rest)


def _polynomial(builder: Builder, x: str, *coefficients: float) -> str:
    value = builder.op("Mul", x, coefficients[0])
    for coefficient in coefficients[1:-1]:
        value = builder.op("Mul", builder.op("Add", value, coefficient), x)
    return builder.op("Add", value, coefficients[-1])


def _lanczos(radius: int) -> Kernel:
    def kernel(builder: Builder, distance: str) -> str:
        """With r the radius: r sin(pi x) sin(pi x / r) / (pi x)^2 up to r, and 1 at 0."""
        angle = builder.op("Mul", distance, math.pi)
        outer = builder.op("Sin", builder.op("Div", angle, float(radius)))
        waves = builder.op("Mul", builder.op("Sin", angle), outer)
        # Not divided by 0 in what is not chosen either: a NaN would travel.
        safe = builder.op("Max", angle, 1e-3)
        value = builder.op(
            "Div", builder.op("Mul", waves, float(radius)), builder.op("Mul", safe, safe)
        )
        zero, one = (builder.like(distance, number) for number in (0.0, 1.0))
        value = builder.op("Where", builder.op("Greater", distance, float(radius)), zero, value)
        return builder.op("Where", builder.op("LessOrEqual", distance, 1e-3), one, value)

    return kernel


_KERNELS: dict[str, Kernel] = {
    "triangle": _triangle,
    "keyscubic": _cubic,
    "lanczos1": _lanczos(1),
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5),
}


def _matrix(builder: Builder, inputs: str, outputs: str, bilinear: bool) -> str:
    """The matrix R of one axis, (outputs, inputs), from its sizes: int64 of shape (1,)."""
    place = _places(builder, inputs, outputs, bilinear)
    return _triangle(builder, _distances(builder, place, inputs, 0.0))


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
