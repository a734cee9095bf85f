"""Gradients of ReLUs: dy where the unit is open, else 0.

onnxruntime keeps the channels of images in blocks from one convolution to the next, and with them
what it adds, multiplies or runs through ReLU, sigmoid or tanh on the way. A comparison is not among
these: for each, a gradient and its ReLU would leave the blocks and come back, which took longer
than the convolutions. So next to convolutions the gate is written as one, of kernels with a single
huge weight: for y >= 0, min(2^90 y, 1) is 1 where y > 0 and 0 where y = 0.
"""

from __future__ import annotations

import numpy as np

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.registry import RULES

# The block sizes of onnxruntime's processors divide it.
_BLOCK = 16

_STEEP = 2.0**90
# The largest number below 6, and what makes 2^92.6 or more of its distance from 6.
_BELOW_SIX = 6.0 - 2.0**-21
_STEEPER = 2.0**120

_CONVOLUTIONS = {"Conv"}
# What stays in blocks if all that it reads does, and what only passes numbers on.
_STAYING = {"Add", "Sum", "Mul", "Relu", "Clip", "Sigmoid", "Tanh", "BatchNormalization", "Concat"}
_PASSING = {"Identity", "Transpose", "MaxPool", "AveragePool"}


@RULES.register("ReluGrad")
def relu_gradient(builder: Builder, dy: Value, y: Value) -> Value:
    """With y = max(x, 0): dx = dy where y > 0, else 0."""
    if not _by_convolutions(y):
        return _gate(y > 0.0, dy)
    size = y.known_shape[-1] or 0
    is_open = _per_channel(y.channels_first(), size, _STEEP).op("Clip", 0.0, 1.0)
    return _gated_in_blocks(dy, size, is_open)


@RULES.register("Relu6Grad")
def relu6_gradient(builder: Builder, dy: Value, y: Value) -> Value:
    """With y = min(max(x, 0), 6): dx = dy where 0 < y < 6, else 0.

    In blocks as tanh(2^90 y + s): s is 0 below 6, and -6 2^90 at 6, to the last digit.
    """
    if not _by_convolutions(y):
        return _gate((y > 0.0) & (y < 6.0), dy)
    first, size = y.channels_first(), y.known_shape[-1] or 0
    end = _per_channel(first, size, -_STEEPER, _STEEPER * _BELOW_SIX).op("Clip", -6 * _STEEP, 0.0)
    return _gated_in_blocks(dy, size, (_per_channel(first, size, _STEEP) + end).op("Tanh"))


def _gate(condition: Value, tensor: Value) -> Value:
    """A number where a condition holds, else 0, as a product: runtimes choose ten times slower."""
    return tensor * condition.op("Cast", to=tensor.dtype)


def _gated_in_blocks(dy: Value, channels: int, gate: Value) -> Value:
    first = dy.channels_first()
    if not _in_blocks(dy):
        # Into the blocks once, for all gates that follow.
        first = _per_channel(first, channels, 1.0)
    return (first * gate).channels_last(4)


def _per_channel(first: Value, channels: int, weight: float, bias: float | None = None) -> Value:
    """`weight x + bias` as a convolution, of a tensor with the channels first."""
    kernel = first.like(np.full((channels, 1, 1, 1), weight))
    biases = [] if bias is None else [first.like(np.full(channels, bias))]
    return first.op("Conv", kernel, *biases, group=channels, kernel_shape=[1, 1])


def _by_convolutions(y: Value) -> bool:
    """Whether images come from a convolution, and can be in its blocks."""
    return _origins(y) >= _CONVOLUTIONS


def _in_blocks(tensor: Value) -> bool:
    """Whether images come from convolutions alone, with nothing between that leaves the blocks."""
    return _origins(tensor) == _CONVOLUTIONS


def _origins(tensor: Value) -> set[str]:
    """The kinds of operations that images of whole blocks come from, past what stays in blocks."""
    shape = tensor.shape
    if shape is None or len(shape) != 4 or not shape[-1] or shape[-1] % _BLOCK:
        return set()
    waiting, seen, found = [tensor], {tensor.name}, set()
    while waiting:
        kind, sources = waiting.pop().made_of()
        if kind not in _STAYING | _PASSING:
            found.add(kind)
            continue
        # The further inputs of the others are limits and statistics.
        sources = sources if kind in ("Add", "Sum", "Mul", "Concat") else sources[:1]
        for source in sources:
            if source.known is None and source.name not in seen:
                seen.add(source.name)
                waiting.append(source)
    return found
