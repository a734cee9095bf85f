"""Gradients of slices and paddings: zeros around, or the reverse."""

from __future__ import annotations

import numpy as np

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("StridedSliceGrad")
def strided_slice_gradient(builder: Builder) -> str:
    """With y = x[begin:end:stride]: dx is zero except dx[begin + stride m] = dy[m].

    Axis by axis: an index's axis comes back, a new axis goes, a negative stride is turned round,
    zeros are set between the pixels for a stride above 1, and then before and after them.
    """
    sizes, begin, _, strides, upstream = builder.inputs
    steps = [int(step) for step in np.atleast_1d(_constant(builder, strides))]
    begins = _begins(builder, begin, len(steps))
    shape = builder.output_shape()
    rank = int(builder.known_shape(sizes)[0] or 0) if shape is None else len(shape)
    shape = [None] * rank if shape is None else shape
    masks = {
        name: int(builder.attribute(f"{name}_mask", 0))
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    added, shrunk, slices = _axes(begins, steps, masks, rank)
    gradient = upstream
    if added:
        gradient = builder.op("Squeeze", gradient, added)
    if shrunk:
        gradient = builder.op("Unsqueeze", gradient, shrunk)
    shape_of = builder.cast_to_int64(sizes)
    for axis, (first, step) in slices.items():
        gradient = _placed(builder, gradient, axis, rank, first, step, shape[axis], shape_of)
    return gradient


def _constant(builder: Builder, tensor: str) -> np.ndarray:
    value = builder.value(tensor)
    if value is None:
        raise ValueError("the steps of a slice are not constants")
    return value


def _begins(builder: Builder, tensor: str, count: int) -> list[int | str]:
    """Where a slice begins on each axis: a number, or an int64 of shape (1,) from the graph."""
    value = builder.value(tensor)
    if value is not None:
        return np.atleast_1d(value).astype(int).tolist()
    begins = builder.cast_to_int64(tensor)
    return [builder.op("Slice", begins, [place], [place + 1]) for place in range(count)]


def _axes(
    begins: list[int | str], steps: list[int], masks: dict[str, int], rank: int
) -> tuple[list[int], list[int], dict[int, tuple[int | str, int]]]:
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
    slices: dict[int, tuple[int | str, int]] = {}
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
            whole = first == 0 and step == 1 and marked("end", place)
            if not whole or marked("shrink_axis", place):
                slices[axis] = (first, step)
            axis += 1
    return added, shrunk, slices


def _placed(
    builder: Builder,
    gradient: str,
    axis: int,
    rank: int,
    first: int | str,
    step: int,
    size: int | None,
    shape_of: str,
) -> str:
    """Puts dy's pixels at `first`, `first + step`, ... of an axis of x, zeros elsewhere."""
    total = builder.op("Slice", shape_of, [axis], [axis + 1])
    count = builder.size_of(gradient, axis)
    if abs(step) > 1:
        # (..., m, ...) to (..., m, |step|, ...) with zeros, to (..., m |step|, ...).
        gap = builder.op("Unsqueeze", gradient, [axis + 1])
        amounts = np.zeros((2, rank + 1), int)
        amounts[1, axis + 1] = abs(step) - 1
        gap = builder.op("Pad", gap, amounts.ravel().tolist())
        if step < 0:
            gap = builder.reversed(gap, [axis])
        before = builder.sizes_of(gradient, 0, axis)
        after = builder.sizes_of(gradient, axis + 1)
        joined = [before] * (axis > 0) + [builder.constant([-1])] + [after] * (axis < rank - 1)
        gradient = builder.op("Reshape", gap, builder.concat(joined))
    elif step < 0:
        gradient = builder.reversed(gradient, [axis])
    # The place of the first pixel that x has in its own order.
    start = _from_the_front(builder, first, total)
    start = builder.op("Max", builder.op("Min", start, total), 0)
    if step < 0:
        # A begin behind the end starts at the end.
        start = builder.op("Min", start, builder.op("Sub", total, 1))
        span = builder.op("Mul", builder.op("Sub", count, 1), abs(step))
        start = builder.op("Sub", start, span)
    length = builder.size_of(gradient, axis)
    behind = builder.op("Sub", total, builder.op("Add", start, length))
    zeros_before = builder.constant([0] * axis)
    zeros_after = builder.constant([0] * (rank - axis - 1))
    pads = builder.concat([zeros_before, start, zeros_after, zeros_before, behind, zeros_after])
    # Behind may be negative after a stride: the zeros that follow the last pixel are cut off.
    return builder.op("Pad", gradient, pads)


def _from_the_front(builder: Builder, first: int | str, total: str) -> str:
    """A place that, if negative, is counted from the end: int64 of shape (1,)."""
    if isinstance(first, str):
        from_end = builder.op("Add", first, total)
        return builder.op("Where", builder.op("Less", first, 0), from_end, first)
    return builder.op("Add", total, first) if first < 0 else builder.constant([first])


@RULES.register("MirrorPadGrad")
def mirror_padding_gradient(builder: Builder) -> str:
    """With y = x with its border reflected outside: dx adds each reflected pixel to its original.

    Axis by axis with b pixels before and a after: the middle, plus the first b and the last a
    turned round, set at the places that they were copied from.
    """
    upstream, paddings = builder.inputs
    amounts = builder.value(paddings)
    if amounts is None:
        raise ValueError("the amounts of a padding are not constants")
    # REFLECT does not repeat the border pixel, SYMMETRIC does.
    skip = 1 if builder.attribute("mode") == "REFLECT" else 0
    rank = len(amounts)
    gradient = upstream
    for axis, (before, after) in enumerate(np.asarray(amounts).astype(int).tolist()):
        if not before and not after:
            continue
        far = np.iinfo("int64").max
        middle = builder.op("Slice", gradient, [before], [-after if after else far], [axis])
        size = builder.size_of(middle, axis)
        parts = [middle]
        for first, last, at_start in ((0, before, True), (-after, far, False)):
            length = before if at_start else after
            if not length:
                continue
            border = builder.op("Slice", gradient, [first], [last], [axis])
            border = builder.reversed(border, [axis])
            rest = builder.op("Sub", size, length + skip)
            near = builder.constant([skip])
            pair = (near, rest) if at_start else (rest, near)
            zeros_before = builder.constant([0] * axis)
            zeros_after = builder.constant([0] * (rank - axis - 1))
            pads = builder.concat(
                [zeros_before, pair[0], zeros_after, zeros_before, pair[1], zeros_after]
            )
            parts.append(builder.op("Pad", border, pads))
        gradient = parts[0]
        for part in parts[1:]:
            gradient = builder.op("Add", gradient, part)
    return gradient
