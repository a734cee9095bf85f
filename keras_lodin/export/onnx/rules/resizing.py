"""Image resizing, where ONNX's own is another one, and its gradients.

Resizing is linear and separable: y = R_h x R_w^T, one small matrix per axis. So dx = R_h^T dy R_w.
The matrices have closed forms, which also serve free sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.registry import RULES

# What gives the matrix of one axis, from the sizes of x and y along it, int64 of shape (1,).
Matrix = Callable[[Builder, int, Value, Value], Value]
# The weight of a pixel by its distance.
Kernel = Callable[[Value], Value]


@RULES.register("ResizeBicubic", "ScaleAndTranslate")
def resizing(builder: Builder, x: Value, sizes: Value, *placing: Value) -> Value:
    """R_h x R_w^T, of the kind's matrix R."""
    matrix, sizes = _MATRICES[builder.kind], sizes.int64()
    pair = [matrix(builder, n, x.size(n + 1), sizes.entry(n)) for n in (0, 1)]
    return _resized(x, *pair)


@RULES.register(
    "ResizeBicubicGrad", "ResizeBilinearGrad", "ResizeNearestNeighborGrad", "ScaleAndTranslateGrad"
)
def resizing_gradient(builder: Builder, dy: Value, original: Value, *placing: Value) -> Value:
    """The adjoint of a resizing: R_h^T dy R_w."""
    kind = builder.kind.removesuffix("Grad")
    # The nearest neighbour's has the sizes of x for x.
    by_size = kind == "ResizeNearestNeighbor"
    before = [original.int64().entry(n) if by_size else original.size(n + 1) for n in (0, 1)]
    height, width = (_MATRICES[kind](builder, n, before[n], dy.size(n + 1)) for n in (0, 1))
    rows = height.transpose([1, 0]).op("MatMul", dy.channels_first())
    return rows.op("MatMul", width).channels_last(4)


@RULES.register("ResizeNearestNeighbor")
def nearest_resizing(builder: Builder, x: Value, sizes: Value) -> Value:
    """Output pixel o copies input pixel s(o). ONNX's Resize deprecates TensorFlow's rounding."""
    for n in (0, 1):
        places = _places(builder, x.size(n + 1), sizes.int64().entry(n), False)
        x = x.op("Gather", places.int64(), axis=n + 1)
    return x


@RULES.register("ResizeArea")
def area_resizing(builder: Builder, x: Value, sizes: Value) -> Value:
    """R[o, i] the part of output pixel o that pixel i covers, of sizes that are not free.

    TensorFlow has no derivative of it, so that there is none to write.
    """
    before, after = x.known_shape[1:3], (builder.output.shape or [])[1:3]
    known = [(x, y) for x, y in zip(before, after, strict=True) if x and y]
    if len(known) < 2 or builder.attribute("align_corners", 0):
        raise ValueError("the image sizes are free, or the corners aligned")
    return _resized(x.float32(), *(builder.constant(_area_matrix(*pair)) for pair in known))


def _area_matrix(before: int, after: int) -> np.ndarray:
    pixels, width = np.arange(before), before / after
    start = width * np.arange(after)[:, None]
    covered = np.minimum(pixels + 1, start + width) - np.maximum(pixels, start)
    return (np.maximum(covered, 0.0) / width).astype("float32")


def _resized(x: Value, height: Value, width: Value) -> Value:
    """R_h x R_w^T, on the two spatial axes of (batch, height, width, channels)."""
    rows = height.op("MatMul", x.channels_first())
    return rows.op("MatMul", width.transpose([1, 0])).channels_last(4)


def _plain_matrix(builder: Builder, axis: int, inputs: Value, outputs: Value) -> Value:
    """R[o, i] = max(0, 1 - |s(o) - i|), s(o) the place of output pixel o in the input.

    s(o) is held inside the image: the border pixel repeats. The nearest neighbour's is a whole
    number: 1 where pixel i is the one that output pixel o copies, else 0.
    """
    place = _places(builder, inputs, outputs, builder.kind.startswith("ResizeBilinear"))
    return _triangle(_distances(builder, place, inputs, 0.0))


def _cubic_matrix(builder: Builder, axis: int, inputs: Value, outputs: Value) -> Value:
    """R[o, i] = k(|s(o) - i|), k the cubic kernel, each row divided by its sum.

    Pixels outside the image count nothing. TensorFlow looks k up in a table, so the fraction of
    the place s(o) is a multiple of 1/1024.
    """
    if not builder.attribute("half_pixel_centers", 0):
        raise ValueError("only bicubic resizing by the centers of pixels has an ONNX form")
    scale = inputs.float32() / outputs.float32()
    place = (_range(builder, outputs) + 0.5) * scale - 0.5
    whole = place.op("Floor")
    place = whole + ((place - whole) * 1024.0).op("Round") / 1024.0
    return _divided_by_sums(_cubic(_distances(builder, place, inputs, 0.0)))


def _kernel_matrix(builder: Builder, axis: int, inputs: Value, outputs: Value) -> Value:
    """R[o, i] = k(|i + 1/2 - s(o)| / a), k the method's kernel, each row divided by its sum.

    With m the number of output pixels per input pixel and t the shift, s(o) = (o + 1/2 - t) / m.
    The kernel is stretched by a = max(1 / m, 1), so that an image that is made smaller is blurred
    first; without `antialias`, a = 1.
    """
    kind = str(builder.attribute("kernel_type", "lanczos3"))
    if kind not in _KERNELS:
        raise ValueError(f"resizing with the kernel {kind!r}")
    scale, shift = (tensor.entry(axis) for tensor in builder.inputs[2:4])
    inverse = scale.op("Reciprocal")
    place = (_range(builder, outputs) + 0.5) * inverse - inverse * shift
    distance = _distances(builder, place, inputs, 0.5)
    if builder.attribute("antialias", 1):
        distance /= inverse.op("Max", 1.0)
    weights = _KERNELS[kind](distance)
    # A place outside the image gives no pixel at all.
    outside = (place < 0.0) | (place > inputs.float32())
    inside = outside.op("Not").float32()
    return _divided_by_sums(weights * inside.op("Unsqueeze", [1]))


_MATRICES: dict[str, Matrix] = {
    "ResizeBicubic": _cubic_matrix,
    "ResizeBilinear": _plain_matrix,
    "ResizeNearestNeighbor": _plain_matrix,
    "ScaleAndTranslate": _kernel_matrix,
}


def _distances(builder: Builder, place: Value, inputs: Value, center: float) -> Value:
    """|i + center - s(o)| of all pixels, (outputs, inputs)."""
    pixels = _range(builder, inputs) + center
    return abs(pixels.op("Unsqueeze", [0]) - place.op("Unsqueeze", [1]))


def _divided_by_sums(weights: Value) -> Value:
    """Each row divided by its sum; rows of zeros stay so."""
    total = weights.op("ReduceSum", [1], keepdims=1)
    return weights / total.op("Equal", 0.0).where(total.like(1.0), total)


def _triangle(distance: Value) -> Value:
    """1 - x below 1."""
    return (1.0 - distance).op("Relu")


def _cubic(distance: Value) -> Value:
    """Keys's kernel: 3/2 x^3 - 5/2 x^2 + 1 below 1, -1/2 x^3 + 5/2 x^2 - 4 x + 2 from 1 to 2."""
    near = _polynomial(distance, 1.5, -2.5, 0.0, 1.0)
    far = _polynomial(distance, -0.5, 2.5, -4.0, 2.0)
    rest = (distance < 2.0).where(far, distance.like(0.0))
    return (distance < 1.0).where(near, rest)


def _polynomial(x: Value, *coefficients: float) -> Value:
    value = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        value = (value + coefficient) * x
    return value + coefficients[-1]


def _lanczos(radius: float) -> Kernel:
    def kernel(distance: Value) -> Value:
        """With r the radius: r sin(pi x) sin(pi x / r) / (pi x)^2 up to r, and 1 at 0."""
        angle = distance * math.pi
        waves = angle.op("Sin") * (angle / radius).op("Sin")
        # Not divided by 0 in what is not chosen either: a NaN would travel.
        safe = angle.op("Max", 1e-3)
        value = (distance > radius).where(distance.like(0.0), waves * radius / (safe * safe))
        return distance.op("LessOrEqual", 1e-3).where(distance.like(1.0), value)

    return kernel


_KERNELS: dict[str, Kernel] = {
    "triangle": _triangle,
    "keyscubic": _cubic,
    "lanczos1": _lanczos(1.0),
    "lanczos3": _lanczos(3.0),
    "lanczos5": _lanczos(5.0),
}


def _places(builder: Builder, inputs: Value, outputs: Value, bilinear: bool) -> Value:
    """The place s(o) in the input of each output pixel, float32, as TensorFlow rounds it."""
    place, last = _range(builder, outputs), inputs.float32() - 1.0
    aligned = builder.attribute("align_corners", 0)
    if aligned:
        scale = last / (outputs.float32() - 1.0).op("Max", 1.0)
    else:
        scale = inputs.float32() / outputs.float32()
    if builder.attribute("half_pixel_centers", 0):
        place = (place + 0.5) * scale
        if bilinear:
            place -= 0.5
    else:
        place *= scale
    if not bilinear:
        # Half away from zero, as C rounds; ONNX's Round takes halves to the even number.
        place = (place + 0.5 if aligned else place).op("Floor")
    return place.op("Max", 0.0).op("Min", last)


def _range(builder: Builder, size: Value) -> Value:
    """0, 1, ... below a size given as int64 of shape (1,): float32."""
    return builder.below(size.scalar()).float32()
