"""Gradients of activations: elementwise, dx = f'(x) dy.

TensorFlow hands most of these operations the activation's OUTPUT y and writes f' in terms of it.
"""

from __future__ import annotations

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.registry import RULES

# Klambauer et al. 2017: the fixed point with mean 0 and variance 1.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


@RULES.register("LeakyReluGrad")
def leaky_relu_gradient(builder: Builder, dy: Value, x: Value) -> Value:
    """With y = x where x > 0, else alpha x: dx = dy or alpha dy."""
    below = dy * float(builder.attribute("alpha", 0.2))
    return (x > 0.0).where(dy, below)


@RULES.register("EluGrad")
def elu_gradient(builder: Builder, dy: Value, y: Value) -> Value:
    """With y = x where x >= 0, else exp(x) - 1: dx = dy (1 + min(y, 0))."""
    return dy * (y.op("Min", 0.0) + 1.0)


@RULES.register("SeluGrad")
def selu_gradient(builder: Builder, dy: Value, y: Value) -> Value:
    """With y = s x where x >= 0, else s a (exp(x) - 1): dx = s dy, or (y + s a) dy."""
    above = dy * _SELU_SCALE
    return (y < 0.0).where(dy * (y + _SELU_SCALE * _SELU_ALPHA), above)


@RULES.register("SigmoidGrad")
def sigmoid_gradient(builder: Builder, y: Value, dy: Value) -> Value:
    """With y = 1 / (1 + exp(-x)): dx = dy y (1 - y)."""
    return dy * (y * (1.0 - y))


@RULES.register("TanhGrad")
def tanh_gradient(builder: Builder, y: Value, dy: Value) -> Value:
    """With y = tanh(x): dx = dy (1 - y^2)."""
    return dy * (1.0 - y * y)


@RULES.register("SoftplusGrad")
def softplus_gradient(builder: Builder, dy: Value, x: Value) -> Value:
    """With y = log(1 + exp(x)): dx = dy sigmoid(x)."""
    return dy * x.op("Sigmoid")


@RULES.register("SoftsignGrad")
def softsign_gradient(builder: Builder, dy: Value, x: Value) -> Value:
    """With y = x / (1 + |x|): dx = dy / (1 + |x|)^2."""
    scale = abs(x) + 1.0
    return dy / (scale * scale)
