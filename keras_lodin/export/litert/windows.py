"""Windows over images, taken apart and put together again with operations of LiteRT."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_lodin.export.unwritable_error import UnwritableError
from keras_lodin.export.windows import Window, window_of
from keras_lodin.gradients.tensorflow.graph_walk import attributes
from keras_lodin.utils.tensor import Tensor


def window(op: tf.Operation, inputs: Tensor, outputs: Tensor, kernel: Sequence[int] = ()) -> Window:
    """The windows of an operation that slide over the one tensor and give the other.

    Raises:
        UnwritableError: for sizes that are free, and channels that are not last.
    """
    options = attributes(op)
    if options["data_format"] != "NHWC":
        raise UnwritableError("channels first")
    kernel = kernel or options["ksize"][1:-1]
    found = window_of(options.get, kernel, inputs.shape.as_list(), outputs.shape.as_list())
    if found.free:
        raise UnwritableError("free image sizes")
    if found.kind == "EXPLICIT":
        raise UnwritableError("explicit padding")
    return found


def offsets(frame: Window) -> itertools.product[tuple[int, ...]]:
    """Every place in a window, in the order of its values."""
    return itertools.product(*map(range, frame.kernel))


def counts(frame: Window) -> np.ndarray:
    """How many values of the input each window covers: float32, (1, rows, columns, 1)."""
    covered = []
    for size, stride, before, length, count in zip(
        *(frame.kernel, frame.strides, frame.padding()[0], frame.input_sizes, frame.output_sizes),
        strict=True,
    ):
        first = np.arange(count) * stride - before
        covered.append(np.minimum(first + size, length) - np.maximum(first, 0))
    return np.outer(*covered).astype("float32")[None, :, :, None]


def gather_windows(x: Tensor, frame: Window, fill: float) -> list[Tensor]:
    """For every place in a window, the values of all windows there.

    Returns:
        tensors of shape (batch, *frame.output_sizes, channels).
    """
    spans = [(n - 1) * s for n, s in zip(frame.output_sizes, frame.strides, strict=True)]
    wanted = [span + size for span, size in zip(spans, frame.kernel, strict=True)]
    x = placed(x, dict(enumerate(zip(frame.padding()[0], wanted, strict=True), 1)), fill)
    return [
        x[:, i : i + spans[0] + 1 : frame.strides[0], j : j + spans[1] + 1 : frame.strides[1]]
        for i, j in offsets(frame)
    ]


def scatter_windows(pieces: Sequence[Tensor], frame: Window) -> Tensor:
    """Adds values up where `gather_windows` would take them from: its transpose."""
    found = dict(zip(offsets(frame), pieces, strict=True))
    nothing = tf.zeros_like(pieces[0])
    down, across = frame.strides
    (above, before), (rows, columns) = frame.padding()[0], frame.input_sizes
    total = None
    # A block of `strides` places fills an image without gaps; blocks overlap, and are added.
    for top in range(0, frame.kernel[0], down):
        for left in range(0, frame.kernel[1], across):
            block = [
                [found.get((top + i, left + j), nothing) for j in range(across)]
                for i in range(down)
            ]
            image = interleaved([interleaved(row, 2) for row in block], 1)
            image = placed(image, {1: (top - above, rows), 2: (left - before, columns)}, 0.0)
            total = image if total is None else total + image
    return total


def interleaved(pieces: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors of one shape, their entries along an axis in turn."""
    if len(pieces) == 1:
        return pieces[0]
    shape = [-1 if size is None else size for size in pieces[0].shape.as_list()]
    shape[axis] *= len(pieces)
    return tf.reshape(tf.stack(pieces, axis=axis + 1), shape)


def spread(x: Tensor, axis: int, step: int) -> Tensor:
    """A tensor with `step - 1` zeros after each entry along an axis."""
    return x if step == 1 else interleaved([x] + [tf.zeros_like(x)] * (step - 1), axis)


def placed(x: Tensor, axes: Mapping[int, tuple[int, int]], fill: float) -> Tensor:
    """A tensor on a ground of another size; what sticks out is cut off.

    Args:
        x: the tensor.
        axes: for every axis that changes, where the tensor begins and how large the ground is.
        fill: the value of the ground.
    """
    margins = [[0, 0] for _ in x.shape]
    cut = [slice(None) for _ in x.shape]
    for axis, (at, size) in axes.items():
        margins[axis] = [max(at, 0), max(size - at - x.shape[axis], 0)]
        cut[axis] = slice(max(-at, 0), max(-at, 0) + size)
    if np.any(margins):
        x = tf.pad(x, margins, constant_values=fill)
    return x[tuple(cut)]
