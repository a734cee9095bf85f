"""Space to batch and back: how TensorFlow runs dilated convolutions.

tf2onnx rewrites the forward pass into a dilated convolution, which leaves the gradient with
tensors of other shapes than it was built for. These rules keep TensorFlow's own form.
"""

from __future__ import annotations

import numpy as np

from keras_lodin.export.onnx_rules.builder import Builder
from keras_lodin.export.onnx_rules.registry import rule


@rule("SpaceToBatchND")
def space_to_batch(builder: Builder) -> str:
    """x[n, s j + i] to y[i N + n, j]: the pixels i, i + s, i + 2 s, ... become images."""
    images, blocks, paddings = builder.inputs
    block = _constant(builder, blocks)
    amounts = _constant(builder, paddings)
    spatial, rank = len(block), len(builder.known_shape(images))
    rest = rank - 1 - spatial
    pads = [0, *amounts[:, 0], *[0] * rest, 0, *amounts[:, 1], *[0] * rest]
    padded = builder.op("Pad", images, [int(n) for n in pads])
    # (n, h, w, ...) to (n, h / s, s, w / s, s, ...) to (s, s, n, h / s, w / s, ...).
    sizes = [builder.size_of(padded, 0)]
    for axis, size in enumerate(block):
        quotient = builder.op("Div", builder.size_of(padded, axis + 1), size)
        sizes += [quotient, builder.constant([size])]
    sizes += [builder.sizes_of(padded, 1 + spatial)] * (rest > 0)
    split = builder.op("Reshape", padded, builder.concat(sizes))
    inner = [2 + 2 * axis for axis in range(spatial)]
    outer = [1 + 2 * axis for axis in range(spatial)]
    behind = list(range(1 + 2 * spatial, rank + spatial))
    moved = builder.transpose(split, [*inner, 0, *outer, *behind])
    shape = builder.concat([builder.constant([-1]), builder.sizes_of(moved, spatial + 1)])
    return builder.op("Reshape", moved, shape)


@rule("BatchToSpaceND")
def batch_to_space(builder: Builder) -> str:
    """The inverse of `space_to_batch`, its padding cut off: y[n, s j + i] = x[i N + n, j]."""
    images, blocks, crops = builder.inputs
    block = _constant(builder, blocks)
    amounts = _constant(builder, crops)
    spatial, rank = len(block), len(builder.known_shape(images))
    shape = builder.concat([builder.constant([*block, -1]), builder.sizes_of(images, 1)])
    split = builder.op("Reshape", images, shape)
    # (s, s, n, h, w, ...) to (n, h, s, w, s, ...) to (n, h s, w s, ...).
    pairs = [axis for place in range(spatial) for axis in (spatial + 1 + place, place)]
    behind = list(range(2 * spatial + 1, rank + spatial))
    moved = builder.transpose(split, [spatial, *pairs, *behind])
    sizes = [builder.size_of(moved, 0)]
    for axis, size in enumerate(block):
        sizes.append(builder.op("Mul", builder.size_of(images, axis + 1), int(size)))
    if rank > 1 + spatial:
        sizes.append(builder.sizes_of(images, 1 + spatial))
    joined = builder.op("Reshape", moved, builder.concat(sizes))
    far = np.iinfo("int64").max
    starts = [int(n) for n in amounts[:, 0]]
    ends = [-int(n) if n else far for n in amounts[:, 1]]
    return builder.op("Slice", joined, starts, ends, [1 + axis for axis in range(spatial)])


def _constant(builder: Builder, tensor: str) -> np.ndarray:
    value = builder.value(tensor)
    if value is None:
        raise ValueError("the block of a dilated convolution is not a constant")
    return value.astype(int)
