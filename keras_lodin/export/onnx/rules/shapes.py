"""Arithmetic on shapes, which gradients need when sizes are free."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("ShapeN")
def shapes(builder: Builder) -> list[str]:
    """The shapes of several tensors."""
    kind = builder.attribute("out_type", TensorProto.INT32)
    return [builder.cast(builder.shape_of(tensor), kind) for tensor in builder.inputs]


@RULES.register("BroadcastGradientArgs")
def broadcast_axes(builder: Builder) -> list[str]:
    """The axes over which two broadcast operands' gradients are summed.

    With both shapes filled up with ones from the left, an operand's gradient is summed over the
    axes where its own size is 1 (where both are, summing one number changes nothing, and the
    reshape that follows restores the axis).
    """
    shapes = [builder.cast_to_int64(shape) for shape in builder.inputs]
    rank = builder.op("Max", *(builder.shape_of(shape) for shape in shapes))
    axes = []
    for shape in shapes:
        missing = builder.op("Sub", rank, builder.shape_of(shape))
        ones = builder.op("Expand", builder.constant([1]), missing)
        filled = builder.concat([ones, shape])
        places = builder.op("NonZero", builder.op("Equal", filled, builder.constant([1])))
        axes.append(builder.cast(builder.op("Reshape", places, [-1]), TensorProto.INT32))
    return axes


@RULES.register("ConcatOffset")
def concatenation_offsets(builder: Builder) -> list[str]:
    """Where each part of a concatenation begins: zeros, and the sizes before it on the axis."""
    axis, *shapes = builder.inputs
    position = builder.value(axis)
    if position is None:
        raise ValueError("the axis of a concatenation is not a constant")
    rank = int(builder.known_shape(shapes[0])[0] or 0)
    mask = builder.list_like(shapes[0], np.eye(rank)[int(position)])
    offset = builder.list_like(shapes[0], np.zeros(rank))
    offsets = []
    for shape in shapes:
        offsets.append(offset)
        offset = builder.op("Add", offset, builder.op("Mul", shape, mask))
    return offsets


@RULES.register("DynamicStitch", "ParallelDynamicStitch")
def stitched_shape(builder: Builder) -> str:
    """z[index_k[i]] = data_k[i]; where indices repeat, the later data win.

    Reductions build the shape of their result so: the input's shape, then ones at the axes.
    """
    half = len(builder.inputs) // 2
    indices = [
        builder.op("Reshape", builder.cast_to_int64(index), [-1]) for index in builder.inputs[:half]
    ]
    for index, data in zip(builder.inputs[:half], builder.inputs[half:], strict=True):
        if len(builder.known_shape(index)) != len(builder.known_shape(data)):
            raise ValueError("only numbers can be stitched together, not tensors")
    last = builder.op("ReduceMax", builder.concat(indices), keepdims=1)
    size = builder.op("Add", last, 1)
    parts = [builder.op("Reshape", data, [-1]) for data in builder.inputs[half:]]
    stitched = builder.op("Expand", builder.list_like(parts[0], [0]), size)
    for index, data in zip(indices, parts, strict=True):
        # One at a time: ONNX leaves open which of two equal indices wins.
        stitched = builder.op("ScatterElements", stitched, index, data, axis=0)
    return stitched
