"""Arithmetic on shapes, which gradients need when sizes are free."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("ShapeN")
def shapes(builder: Builder, *tensors: Value) -> list[Value]:
    """The shapes of several tensors."""
    kind = builder.attribute("out_type", TensorProto.INT32)
    return [tensor.op("Shape").cast(kind) for tensor in tensors]


@RULES.register("BroadcastGradientArgs")
def broadcast_axes(builder: Builder, *shapes: Value) -> list[Value]:
    """The axes over which two broadcast operands' gradients are summed.

    With both shapes filled up with ones from the left, an operand's gradient is summed over the
    axes where its own size is 1 (where both are, summing one number changes nothing, and the
    reshape that follows restores the axis).
    """
    wide = [shape.int64() for shape in shapes]
    rank = builder.op("Max", *(shape.op("Shape") for shape in wide))
    axes = []
    for shape in wide:
        ones = builder.constant([1]).op("Expand", rank - shape.op("Shape"))
        places = builder.concat([ones, shape]).op("Equal", [1]).op("NonZero")
        axes.append(places.reshape(-1).cast(TensorProto.INT32))
    return axes


@RULES.register("ConcatOffset")
def concatenation_offsets(builder: Builder, axis: Value, *shapes: Value) -> list[Value]:
    """Where each part of a concatenation begins: zeros, and the sizes before it on the axis."""
    if axis.known is None:
        raise ValueError("the axis of a concatenation is not a constant")
    rank = int(shapes[0].known_shape[0] or 0)
    mask = shapes[0].like(np.eye(rank)[int(axis.known)])
    offsets = [shapes[0].like(np.zeros(rank))]
    for shape in shapes[:-1]:
        offsets.append(offsets[-1] + shape * mask)
    return offsets


@RULES.register("DynamicStitch", "ParallelDynamicStitch")
def stitched_shape(builder: Builder, *inputs: Value) -> Value:
    """z[index_k[i]] = data_k[i]; where indices repeat, the later data win.

    Reductions build the shape of their result so: the input's shape, then ones at the axes.
    """
    half = len(inputs) // 2
    pairs = list(zip(inputs[:half], inputs[half:], strict=True))
    if any(index.rank != data.rank for index, data in pairs):
        raise ValueError("only numbers can be stitched together, not tensors")
    indices = [index.int64().reshape(-1) for index, _ in pairs]
    parts = [data.reshape(-1) for _, data in pairs]
    size = builder.concat(indices).op("ReduceMax", keepdims=1) + 1
    stitched = parts[0].like([0]).op("Expand", size)
    for index, data in zip(indices, parts, strict=True):
        # One at a time: ONNX leaves open which of two equal indices wins.
        stitched = stitched.op("ScatterElements", index, data, axis=0)
    return stitched
