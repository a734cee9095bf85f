"""Elementwise functions that ONNX lacks, and gradients of elementwise functions."""

from __future__ import annotations

import numpy as np

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("Expm1")
def expm1(builder: Builder, u: Value) -> Value:
    """exp(u) - 1 = 2 sinh(u / 2) exp(u / 2): exact, and keeps the digits of a small u.

    Below -40 it is -1 to the last digit, and sinh would become infinite.
    """
    half = u.op("Max", -40.0) * 0.5
    return half.op("Sinh") * half.op("Exp") * 2.0


@RULES.register("Log1p")
def log1p(builder: Builder, v: Value) -> Value:
    """log(1 + v) = 2 atanh(v / (2 + v)): exact, and keeps the digits of a small v.

    Above 1 the quotient comes too close to 1 for atanh, while 1 + v has all the digits; below -1
    both are NaN, as long as the quotient is not rounded to 1.
    """
    small = (v / (v + 2.0)).op("Atanh") * 2.0
    return (abs(v) > 1.0).where((v + 1.0).op("Log"), small)


@RULES.register("Erfc")
def complementary_error_function(builder: Builder, x: Value) -> Value:
    """erfc(x) = 1 - erf(x), to an absolute error of 1e-7 (all that a GELU needs).

    A GELU is x / 2 times erfc(-x / sqrt(2)) = 1 + erf(x / sqrt(2)): written so, onnxruntime takes
    it for one operation.
    """
    opposite = _opposite(x)
    return opposite.op("Erf") + 1.0 if opposite else 1.0 - x.op("Erf")


@RULES.register("Square")
def square(builder: Builder, x: Value) -> Value:
    """Gives x^2, of -x where the gradient of `complementary_error_function` has that already."""
    x = _opposite(x) or x
    return x * x


def _opposite(x: Value) -> Value | None:
    """Of x = -u c, with a number c: u / (1 / c), without the sign; else None."""
    for factor, number in (x.factors, x.factors[::-1]) if x.factors else ():
        kind, sources = factor.made_of()
        if kind == "Neg" and number.known is not None and number.known.size == 1:
            return sources[0] / float(1.0 / number.known.item())
    return None


def _unless_zero(x: Value, result: Value) -> Value:
    """0 where x is 0, whatever the result is.

    That is TensorFlow's own rule for x = dy where f' may be infinite: without it a norm of zeros,
    of a black image, has the gradient 0 times infinity.
    """
    return x.op("Equal", 0.0).where(x, result)


@RULES.register("RsqrtGrad")
def reciprocal_square_root_gradient(builder: Builder, y: Value, dy: Value) -> Value:
    """With y = x^(-1/2): dx = -1/2 y^3 dy, and 0 where dy is 0."""
    return _unless_zero(dy, y * y * y * dy * -0.5)


@RULES.register("SqrtGrad")
def square_root_gradient(builder: Builder, y: Value, dy: Value) -> Value:
    """With y = x^(1/2): dx = dy / (2 y), and 0 where dy is 0."""
    return _unless_zero(dy, dy * 0.5 / y)


@RULES.register("ReciprocalGrad", "InvGrad")
def reciprocal_gradient(builder: Builder, y: Value, dy: Value) -> Value:
    """With y = 1 / x: dx = -y^2 dy, and 0 where dy is 0."""
    return _unless_zero(dy, -(y * y * dy))


@RULES.register("Xlogy")
def x_log_y(builder: Builder, x: Value, y: Value) -> Value:
    """Gives x log(y), and 0 where x is 0 whatever y is."""
    return _unless_zero(x, x * y.op("Log"))


@RULES.register("MulNoNan")
def multiply_no_nan(builder: Builder, x: Value, y: Value) -> Value:
    """Gives x y, and 0 where y is 0 whatever x is."""
    return _unless_zero(y, x * y)


@RULES.register("Xdivy")
def x_divided_by_y(builder: Builder, x: Value, y: Value) -> Value:
    """Gives x / y, and 0 where x is 0 whatever y is."""
    return _unless_zero(x, x / y)


@RULES.register("Bitcast")
def sign_bit(builder: Builder, x: Value) -> Value:
    """The bits of a float32, of which the reader looks at the sign alone.

    Keras finds the largest logit with a test for -0.0, by a mask on the sign bit. ONNX cannot
    read bits, but it can tell: x < 0, or x = 0 and 1 / x = -inf.
    """
    mask = np.iinfo("int32").min
    for reader in builder.consumers():
        values = [Value(builder, name).known for name in reader.input]
        if reader.type != "BitwiseAnd" or not any(v is not None and v == mask for v in values):
            raise ValueError("the bits of a number cannot be read in ONNX")
    negative_zero = x.op("Equal", 0.0) & (1.0 / x < 0.0)
    minus, plus = (builder.constant(value, "int32") for value in (mask, 0))
    return ((x < 0.0) | negative_zero).where(minus, plus)
