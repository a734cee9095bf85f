"""Gradients of activations: elementwise, dx = f'(x) dy.

TensorFlow hands most of these operations the activation's OUTPUT y and writes f' in terms of it.
"""

from __future__ import annotations

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.export.onnx.rules.registry import RULES

# Klambauer et al. 2017: the fixed point with mean 0 and variance 1.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def _gate(builder: Builder, condition: str, tensor: str) -> str:
    """A number where a condition holds, else 0, as a product: runtimes choose ten times slower."""
    return builder.op("Mul", tensor, builder.op("Cast", condition, to=builder.dtype(tensor)))


@RULES.register("ReluGrad")
def relu_gradient(builder: Builder) -> str:
    """With y = max(x, 0): dx = dy where y > 0, else 0."""
    upstream, outputs = builder.inputs
    return _gate(builder, builder.op("Greater", outputs, 0.0), upstream)


@RULES.register("Relu6Grad")
def relu6_gradient(builder: Builder) -> str:
    """With y = min(max(x, 0), 6): dx = dy where 0 < y < 6, else 0."""
    upstream, outputs = builder.inputs
    inside = builder.op(
        "And", builder.op("Greater", outputs, 0.0), builder.op("Less", outputs, 6.0)
    )
    return _gate(builder, inside, upstream)


@RULES.register("LeakyReluGrad")
def leaky_relu_gradient(builder: Builder) -> str:
    """With y = x where x > 0, else alpha x: dx = dy or alpha dy. The second input is x."""
    upstream, inputs = builder.inputs
    below = builder.op("Mul", upstream, float(builder.attribute("alpha", 0.2)))
    return builder.op("Where", builder.op("Greater", inputs, 0.0), upstream, below)


@RULES.register("EluGrad")
def elu_gradient(builder: Builder) -> str:
    """With y = x where x >= 0, else exp(x) - 1: dx = dy (1 + min(y, 0))."""
    upstream, outputs = builder.inputs
    slope = builder.op("Add", builder.op("Min", outputs, 0.0), 1.0)
    return builder.op("Mul", upstream, slope)


@RULES.register("SeluGrad")
def selu_gradient(builder: Builder) -> str:
    """With y = s x where x >= 0, else s a (exp(x) - 1): dx = s dy, or (y + s a) dy."""
    upstream, outputs = builder.inputs
    above = builder.op("Mul", upstream, _SELU_SCALE)
    shifted = builder.op("Add", outputs, _SELU_SCALE * _SELU_ALPHA)
    below = builder.op("Mul", upstream, shifted)
    return builder.op("Where", builder.op("Less", outputs, 0.0), below, above)


@RULES.register("SigmoidGrad")
def sigmoid_gradient(builder: Builder) -> str:
    """With y = 1 / (1 + exp(-x)): dx = dy y (1 - y)."""
    outputs, upstream = builder.inputs
    slope = builder.op("Mul", outputs, builder.op("Sub", builder.like(outputs, 1.0), outputs))
    return builder.op("Mul", upstream, slope)


@RULES.register("TanhGrad")
def tanh_gradient(builder: Builder) -> str:
    """With y = tanh(x): dx = dy (1 - y^2)."""
    outputs, upstream = builder.inputs
    square = builder.op("Mul", outputs, outputs)
    return builder.op("Mul", upstream, builder.op("Sub", builder.like(outputs, 1.0), square))


@RULES.register("SoftplusGrad")
def softplus_gradient(builder: Builder) -> str:
    """With y = log(1 + exp(x)): dx = dy sigmoid(x). The second input is x."""
    upstream, inputs = builder.inputs
    return builder.op("Mul", upstream, builder.op("Sigmoid", inputs))


@RULES.register("SoftsignGrad")
def softsign_gradient(builder: Builder) -> str:
    """With y = x / (1 + |x|): dx = dy / (1 + |x|)^2. The second input is x."""
    upstream, inputs = builder.inputs
    scale = builder.op("Add", builder.op("Abs", inputs), 1.0)
    return builder.op("Div", upstream, builder.op("Mul", scale, scale))
