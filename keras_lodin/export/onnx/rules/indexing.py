"""Gradients of slices and paddings: zeros around, or the reverse."""

from __future__ import annotations

import numpy as np

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("StridedSliceGrad")
def strided_slice_gradient(
    builder: Builder, sizes: Value, begin: Value, end: Value, strides: Value, dy: Value
) -> Value:
    """With y = x[begin:end:stride]: dx is zero except dx[begin + stride m] = dy[m].

    Axis by axis: an index's axis comes back, a new axis goes, a negative stride is turned round,
    zeros are set between the pixels for a stride above 1, and then before and after them.
    """
    if strides.known is None:
        raise ValueError("the steps of a slice are not constants")
    steps = [int(step) for step in np.atleast_1d(strides.known)]
    shape = builder.output.shape
    rank = int(sizes.known_shape[0] or 0) if shape is None else len(shape)
    masks = {
        name: int(builder.attribute(f"{name}_mask", 0))
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    added, shrunk, slices = _axes(_begins(begin, len(steps)), steps, masks, rank)
    if added:
        dy = dy.op("Squeeze", added)
    if shrunk:
        dy = dy.op("Unsqueeze", shrunk)
    for axis, (first, step) in slices.items():
        known = None if shape is None else shape[axis]
        total = sizes.int64().entry(axis) if known is None else known
        dy = _placed(dy, axis, rank, first, step, total)
    return dy


def _begins(begin: Value, count: int) -> list[Value | int]:
    """Where a slice begins on each axis: a number, or an int64 of shape (1,) from the graph."""
    if begin.known is not None:
        return np.atleast_1d(begin.known).astype(int).tolist()
    return [begin.int64().entry(place) for place in range(count)]


def _axes(
    begins: list[Value | int], steps: list[int], masks: dict[str, int], rank: int
) -> tuple[list[int], list[int], dict[int, tuple[Value | int, int]]]:
    """What a slice does to each axis.

    Returns:
        axes of y that the slice added, axes of x that it took away, and (begin, stride) of the
        axes of x that it did not take whole.
    """

    def marked(mask: str, place: int) -> bool:
        return bool(masks[mask] >> place & 1)

    count = len(begins)
    named = sum(not marked("new_axis", i) and not marked("ellipsis", i) for i in range(count))
    added: list[int] = []
    shrunk: list[int] = []
    slices: dict[int, tuple[Value | int, int]] = {}
    axis = out = 0
    for place in range(count):
        if marked("ellipsis", place):
            axis += rank - named
            out += rank - named
        elif marked("new_axis", place):
            added.append(out)
            out += 1
        else:
            step = 1 if marked("shrink_axis", place) else steps[place]
            first = begins[place]
            if marked("begin", place) and not marked("shrink_axis", place):
                first = 0 if step > 0 else -1
            if marked("shrink_axis", place):
                shrunk.append(axis)
            else:
                out += 1
            whole = isinstance(first, int) and (first, step) == (0, 1) and marked("end", place)
            if not whole or marked("shrink_axis", place):
                slices[axis] = (first, step)
            axis += 1
    return added, shrunk, slices


def _placed(
    dy: Value, axis: int, rank: int, first: Value | int, step: int, total: Value | int
) -> Value:
    """Puts dy's pixels at `first`, `first + step`, ... of an axis of x, zeros elsewhere."""
    count, turned = _size(dy, axis), [axis] if step < 0 else []
    if abs(step) > 1:
        # (..., m, ...) to (..., m, |step|, ...) with zeros, to (..., m |step|, ...). A 0 in a shape
        # is the size that was there.
        after = [_size(dy, place) for place in range(axis + 1, rank)]
        amounts = np.zeros((2, rank + 1), int)
        amounts[1, axis + 1] = abs(step) - 1
        gap = dy.op("Unsqueeze", [axis + 1]).op("Pad", amounts.ravel().tolist())
        dy = gap.reversed(turned).reshape(*[0] * axis, count * abs(step), *after)
    else:
        dy = dy.reversed(turned)
    # The place of the first pixel that x has in its own order.
    start = _limited(_from_the_front(first, total), 0, total)
    if step < 0:
        # A begin behind the end starts at the end.
        start = _limited(start, None, total - 1) - (count - 1) * abs(step)
    # Behind may be negative after a stride: the zeros that follow the last pixel are cut off.
    return dy.pad(rank, axis, start, total - (start + count * abs(step)))


def _size(tensor: Value, axis: int) -> Value | int:
    """One of its sizes: a number where it is known, else an int64 of shape (1,)."""
    size = None if tensor.shape is None else tensor.shape[axis]
    return tensor.size(axis) if size is None else size


def _limited(place: Value | int, low: int | None, high: Value | int) -> Value | int:
    if isinstance(place, int) and isinstance(high, int):
        return min(place, high) if low is None else max(min(place, high), low)
    if isinstance(place, int):
        assert isinstance(high, Value)
        place = high.like([place])
    place = place.op("Min", high)
    return place if low is None else place.op("Max", low)


def _from_the_front(first: Value | int, total: Value | int) -> Value | int:
    """A place that, if negative, is counted from the end."""
    if isinstance(first, int):
        return total + first if first < 0 else first
    return (first < 0).where(first + total, first)


@RULES.register("MirrorPadGrad")
def mirror_padding_gradient(builder: Builder, dy: Value, paddings: Value) -> Value:
    """With y = x with its border reflected outside: dx adds each reflected pixel to its original.

    Axis by axis with b pixels before and a after: the middle, plus the first b and the last a
    turned round, set at the places that they were copied from.
    """
    if paddings.known is None:
        raise ValueError("the amounts of a padding are not constants")
    # REFLECT does not repeat the border pixel, SYMMETRIC does.
    skip = 1 if builder.attribute("mode") == "REFLECT" else 0
    far = np.iinfo("int64").max
    for axis, (before, after) in enumerate(paddings.known.astype(int).tolist()):
        if not before and not after:
            continue
        total = dy.op("Slice", [before], [-after if after else far], [axis])
        size = total.size(axis)
        for first, last, length in ((0, before, before), (-after, far, after)):
            if not length:
                continue
            border = dy.op("Slice", [first], [last], [axis]).reversed([axis])
            rest = size - (length + skip)
            ends = (skip, rest) if first == 0 else (rest, skip)
            total += border.pad(len(paddings.known), axis, *ends)
        dy = total
    return dy
