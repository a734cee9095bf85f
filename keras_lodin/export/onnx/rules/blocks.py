"""Space to batch and back: how TensorFlow runs dilated convolutions.

tf2onnx rewrites the forward pass into a dilated convolution, which leaves the gradient with
tensors of other shapes than it was built for. These rules keep TensorFlow's own form.
"""

from __future__ import annotations

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("SpaceToBatchND")
def space_to_batch(builder: Builder, images: Value, blocks: Value, paddings: Value) -> Value:
    """x[n, s j + i] to y[i N + n, j]: the pixels i, i + s, i + 2 s, ... become images."""
    block = _block(blocks)
    spatial, rank = len(block), images.rank
    before, after = _columns(paddings)
    rest = [0] * (rank - 1 - spatial)
    padded = images.op("Pad", builder.shape(0, before, *rest, 0, after, *rest))
    # (n, h, w, ...) to (n, h / s, s, w / s, s, ...) to (s, s, n, h / s, w / s, ...).
    sizes: list[Value | int] = [padded.size(0)]
    for axis, size in enumerate(block):
        sizes += [padded.size(axis + 1) // size, size]
    sizes += [padded.sizes(1 + spatial)] * bool(rest)
    inner = [2 + 2 * axis for axis in range(spatial)]
    outer = [1 + 2 * axis for axis in range(spatial)]
    behind = list(range(1 + 2 * spatial, rank + spatial))
    moved = padded.reshape(*sizes).transpose([*inner, 0, *outer, *behind])
    return moved.reshape(-1, moved.sizes(spatial + 1))


@RULES.register("BatchToSpaceND")
def batch_to_space(builder: Builder, images: Value, blocks: Value, crops: Value) -> Value:
    """The inverse of `space_to_batch`, its padding cut off: y[n, s j + i] = x[i N + n, j]."""
    block = _block(blocks)
    spatial, rank = len(block), images.rank
    split = images.reshape(*block, -1, images.sizes(1))
    # (s, s, n, h, w, ...) to (n, h, s, w, s, ...) to (n, h s, w s, ...).
    pairs = [axis for place in range(spatial) for axis in (spatial + 1 + place, place)]
    moved = split.transpose([spatial, *pairs, *range(2 * spatial + 1, rank + spatial)])
    sizes = [moved.size(0)]
    sizes += [images.size(axis + 1) * size for axis, size in enumerate(block)]
    sizes += [images.sizes(1 + spatial)] * (rank > 1 + spatial)
    whole = builder.shape(*sizes)
    starts, behind = _columns(crops)
    ends = whole.op("Slice", [1], [1 + spatial]) - behind
    return moved.reshape(whole).op("Slice", starts, ends, [1 + axis for axis in range(spatial)])


def _block(sizes: Value) -> list[int]:
    if sizes.known is None:
        raise ValueError("the block of a dilated convolution is not a constant")
    return [int(size) for size in sizes.known]


def _columns(amounts: Value) -> tuple[Value, Value]:
    """The two columns of (axes, 2) amounts, before and after, as int64 lists."""
    amounts = amounts.int64()
    before, after = (amounts.op("Slice", [n], [n + 1], [1]).reshape(-1) for n in (0, 1))
    return before, after
