"""Gradients of activations: elementwise, dx = f'(x) dy.

TensorFlow hands most of these operations the activation's OUTPUT y and writes f' in terms of it.
"""

from __future__ import annotations

from keras_lodin.export.onnx_rules.builder import Builder
from keras_lodin.export.onnx_rules.registry import rule

# Klambauer et al. 2017: the fixed point with mean 0 and variance 1.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def _where_positive(builder: Builder, tensor: str, positive: str, other: str) -> str:
    return builder.op("Where", builder.op("Greater", tensor, 0.0), positive, other)


@rule("ReluGrad")
def relu_gradient(builder: Builder) -> str:
    """Y = max(x, 0): dx = dy where y > 0, else 0."""
    upstream, outputs = builder.inputs
    return _where_positive(builder, outputs, upstream, builder.like(upstream, 0.0))


@rule("Relu6Grad")
def relu6_gradient(builder: Builder) -> str:
    """Y = min(max(x, 0), 6): dx = dy where 0 < y < 6, else 0."""
    upstream, outputs = builder.inputs
    inside = builder.op(
        "And", builder.op("Greater", outputs, 0.0), builder.op("Less", outputs, 6.0)
    )
    return builder.op("Where", inside, upstream, builder.like(upstream, 0.0))


@rule("LeakyReluGrad")
def leaky_relu_gradient(builder: Builder) -> str:
    """Y = x where x > 0, else alpha x: dx = dy or alpha dy. The second input is x."""
    upstream, inputs = builder.inputs
    below = builder.op("Mul", upstream, float(builder.attribute("alpha", 0.2)))
    return _where_positive(builder, inputs, upstream, below)


@rule("EluGrad")
def elu_gradient(builder: Builder) -> str:
    """Y = x where x >= 0, else exp(x) - 1: dx = dy, or dy exp(x) = dy (y + 1)."""
    upstream, outputs = builder.inputs
    below = builder.op("Mul", upstream, builder.op("Add", outputs, 1.0))
    return builder.op("Where", builder.op("Less", outputs, 0.0), below, upstream)


@rule("SeluGrad")
def selu_gradient(builder: Builder) -> str:
    """Y = s x where x >= 0, else s a (exp(x) - 1): dx = s dy, or dy s a exp(x) = dy (y + s a)."""
    upstream, outputs = builder.inputs
    above = builder.op("Mul", upstream, _SELU_SCALE)
    shifted = builder.op("Add", outputs, _SELU_SCALE * _SELU_ALPHA)
    below = builder.op("Mul", upstream, shifted)
    return builder.op("Where", builder.op("Less", outputs, 0.0), below, above)


@rule("SigmoidGrad")
def sigmoid_gradient(builder: Builder) -> str:
    """Y = 1 / (1 + exp(-x)): dx = dy y (1 - y)."""
    outputs, upstream = builder.inputs
    slope = builder.op("Mul", outputs, builder.op("Sub", builder.like(outputs, 1.0), outputs))
    return builder.op("Mul", upstream, slope)


@rule("TanhGrad")
def tanh_gradient(builder: Builder) -> str:
    """Y = tanh(x): dx = dy (1 - y^2)."""
    outputs, upstream = builder.inputs
    square = builder.op("Mul", outputs, outputs)
    return builder.op("Mul", upstream, builder.op("Sub", builder.like(outputs, 1.0), square))


@rule("SoftplusGrad")
def softplus_gradient(builder: Builder) -> str:
    """Y = log(1 + exp(x)): dx = dy sigmoid(x). The second input is x."""
    upstream, inputs = builder.inputs
    return builder.op("Mul", upstream, builder.op("Sigmoid", inputs))


@rule("SoftsignGrad")
def softsign_gradient(builder: Builder) -> str:
    """Y = x / (1 + |x|): dx = dy / (1 + |x|)^2. The second input is x."""
    upstream, inputs = builder.inputs
    scale = builder.op("Add", builder.op("Abs", inputs), 1.0)
    return builder.op("Div", upstream, builder.op("Mul", scale, scale))
