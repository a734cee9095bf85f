"""Space to batch and back: how TensorFlow runs dilated convolutions.

tf2onnx rewrites the forward pass into a dilated convolution, which leaves the gradient with
tensors of other shapes than it was built for. These rules keep TensorFlow's own form.
"""

from __future__ import annotations

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("SpaceToBatchND")
def space_to_batch(builder: Builder) -> str:
    """x[n, s j + i] to y[i N + n, j]: the pixels i, i + s, i + 2 s, ... become images."""
    images, blocks, paddings = builder.inputs
    block = _block(builder, blocks)
    spatial, rank = len(block), len(builder.known_shape(images))
    rest = rank - 1 - spatial
    before, after = _columns(builder, paddings)
    first, last = builder.constant([0]), builder.constant([0] * rest)
    pads = builder.concat([first, before, last, first, after, last])
    padded = builder.op("Pad", images, pads)
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


@RULES.register("BatchToSpaceND")
def batch_to_space(builder: Builder) -> str:
    """The inverse of `space_to_batch`, its padding cut off: y[n, s j + i] = x[i N + n, j]."""
    images, blocks, crops = builder.inputs
    block = _block(builder, blocks)
    spatial, rank = len(block), len(builder.known_shape(images))
    shape = builder.concat([builder.constant([*block, -1]), builder.sizes_of(images, 1)])
    split = builder.op("Reshape", images, shape)
    # (s, s, n, h, w, ...) to (n, h, s, w, s, ...) to (n, h s, w s, ...).
    pairs = [axis for place in range(spatial) for axis in (spatial + 1 + place, place)]
    rest = list(range(2 * spatial + 1, rank + spatial))
    moved = builder.transpose(split, [spatial, *pairs, *rest])
    sizes = [builder.size_of(moved, 0)]
    for axis, size in enumerate(block):
        sizes.append(builder.op("Mul", builder.size_of(images, axis + 1), int(size)))
    if rank > 1 + spatial:
        sizes.append(builder.sizes_of(images, 1 + spatial))
    whole = builder.concat(sizes)
    joined = builder.op("Reshape", moved, whole)
    starts, behind = _columns(builder, crops)
    ends = builder.op("Sub", builder.op("Slice", whole, [1], [1 + spatial]), behind)
    return builder.op("Slice", joined, starts, ends, [1 + axis for axis in range(spatial)])


def _block(builder: Builder, tensor: str) -> list[int]:
    value = builder.value(tensor)
    if value is None:
        raise ValueError("the block of a dilated convolution is not a constant")
    return [int(size) for size in value]


def _columns(builder: Builder, amounts: str) -> tuple[str, str]:
    """The two columns of (axes, 2) amounts, before and after, as int64 lists."""
    amounts = builder.cast_to_int64(amounts)
    before, after = (
        builder.op("Reshape", builder.op("Slice", amounts, [n], [n + 1], [1]), [-1]) for n in (0, 1)
    )
    return before, after
