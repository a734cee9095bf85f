"""Elementwise functions that ONNX lacks, and gradients of elementwise functions."""

from __future__ import annotations

import numpy as np

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("Expm1")
def expm1(builder: Builder) -> str:
    """exp(u) - 1 = 2 sinh(u / 2) exp(u / 2): exact, and keeps the digits of a small u.

    Below -40 it is -1 to the last digit, and sinh would become infinite.
    """
    (inputs,) = builder.inputs
    half = builder.op("Mul", builder.op("Max", inputs, -40.0), 0.5)
    product = builder.op("Mul", builder.op("Sinh", half), builder.op("Exp", half))
    return builder.op("Mul", product, 2.0)


@RULES.register("Log1p")
def log1p(builder: Builder) -> str:
    """log(1 + v) = 2 atanh(v / (2 + v)): exact, and keeps the digits of a small v.

    Above 1 the quotient comes too close to 1 for atanh, while 1 + v has all the digits; below -1
    both are NaN, as long as the quotient is not rounded to 1.
    """
    (inputs,) = builder.inputs
    ratio = builder.op("Div", inputs, builder.op("Add", inputs, 2.0))
    small = builder.op("Mul", builder.op("Atanh", ratio), 2.0)
    large = builder.op("Log", builder.op("Add", inputs, 1.0))
    far = builder.op("Greater", builder.op("Abs", inputs), 1.0)
    return builder.op("Where", far, large, small)


@RULES.register("Erfc")
def complementary_error_function(builder: Builder) -> str:
    """erfc(x) = 1 - erf(x), to an absolute error of 1e-7 (all that a GELU needs)."""
    (inputs,) = builder.inputs
    return builder.op("Sub", builder.like(inputs, 1.0), builder.op("Erf", inputs))


def _unless_none_arrives(builder: Builder, upstream: str, gradient: str) -> str:
    """dx, and 0 where dy is 0 whatever f' is: TensorFlow's own rule where f' may be infinite.

    Without it a norm of zeros, of a black image, has the gradient 0 times infinity.
    """
    return builder.op("Where", builder.op("Equal", upstream, 0.0), upstream, gradient)


@RULES.register("RsqrtGrad")
def reciprocal_square_root_gradient(builder: Builder) -> str:
    """With y = x^(-1/2): dx = -1/2 y^3 dy, and 0 where dy is 0."""
    outputs, upstream = builder.inputs
    cube = builder.op("Mul", builder.op("Mul", outputs, outputs), outputs)
    gradient = builder.op("Mul", builder.op("Mul", cube, upstream), -0.5)
    return _unless_none_arrives(builder, upstream, gradient)


@RULES.register("SqrtGrad")
def square_root_gradient(builder: Builder) -> str:
    """With y = x^(1/2): dx = dy / (2 y), and 0 where dy is 0."""
    outputs, upstream = builder.inputs
    gradient = builder.op("Div", builder.op("Mul", upstream, 0.5), outputs)
    return _unless_none_arrives(builder, upstream, gradient)


@RULES.register("ReciprocalGrad", "InvGrad")
def reciprocal_gradient(builder: Builder) -> str:
    """With y = 1 / x: dx = -y^2 dy, and 0 where dy is 0."""
    outputs, upstream = builder.inputs
    square = builder.op("Mul", outputs, outputs)
    gradient = builder.op("Neg", builder.op("Mul", square, upstream))
    return _unless_none_arrives(builder, upstream, gradient)


@RULES.register("Xlogy")
def x_log_y(builder: Builder) -> str:
    """Gives x log(y), and 0 where x is 0 whatever y is."""
    x, y = builder.inputs
    product = builder.op("Mul", x, builder.op("Log", y))
    return builder.op("Where", builder.op("Equal", x, 0.0), x, product)


@RULES.register("MulNoNan")
def multiply_no_nan(builder: Builder) -> str:
    """Gives x y, and 0 where y is 0 whatever x is."""
    x, y = builder.inputs
    return builder.op("Where", builder.op("Equal", y, 0.0), y, builder.op("Mul", x, y))


@RULES.register("Xdivy")
def x_divided_by_y(builder: Builder) -> str:
    """Gives x / y, and 0 where x is 0 whatever y is."""
    x, y = builder.inputs
    return builder.op("Where", builder.op("Equal", x, 0.0), x, builder.op("Div", x, y))


@RULES.register("Bitcast")
def sign_bit(builder: Builder) -> str:
    """The bits of a float32, of which the reader looks at the sign alone.

    Keras finds the largest logit with a test for -0.0, by a mask on the sign bit. ONNX cannot
    read bits, but it can tell: x < 0, or x = 0 and 1 / x = -inf.
    """
    (inputs,) = builder.inputs
    mask = np.iinfo("int32").min
    for reader in builder.consumers():
        values = [builder.value(name) for name in reader.input]
        if reader.type != "BitwiseAnd" or not any(v is not None and v == mask for v in values):
            raise ValueError("the bits of a number cannot be read in ONNX")
    negative = builder.op("Less", inputs, 0.0)
    reciprocal = builder.op("Div", builder.like(inputs, 1.0), inputs)
    negative_zero = builder.op(
        "And", builder.op("Equal", inputs, 0.0), builder.op("Less", reciprocal, 0.0)
    )
    minus, plus = (builder.constant(value, "int32") for value in (mask, 0))
    return builder.op("Where", builder.op("Or", negative, negative_zero), minus, plus)
