"""Windows over images, taken apart and put together again with operations of LiteRT."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_lodin.export.unwritable_error import UnwritableError
from keras_lodin.utils.tensor import Tensor


@dataclass(frozen=True)
class Window:
    """How an operation's windows lie on its input; each pair is (rows, columns).

    Attributes:
        size: of a window.
        strides: from one window to the next.
        before: padding above and left of the input.
        inputs: size of the input.
        outputs: how many windows.
    """

    size: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]
    inputs: tuple[int, int]
    outputs: tuple[int, int]

    def offsets(self) -> itertools.product[tuple[int, ...]]:
        """Every place in a window, in the order of its values."""
        return itertools.product(*map(range, self.size))

    def counts(self) -> np.ndarray:
        """How many values of the input each window covers: float32, (1, rows, columns, 1)."""
        covered = []
        for size, stride, before, length, count in zip(
            self.size, self.strides, self.before, self.inputs, self.outputs, strict=True
        ):
            first = np.arange(count) * stride - before
            covered.append(np.minimum(first + size, length) - np.maximum(first, 0))
        return np.outer(*covered).astype("float32")[None, :, :, None]


def window(
    op: tf.Operation,
    inputs: tf.TensorShape,
    outputs: tf.TensorShape,
    size: Sequence[int] | None = None,
) -> Window:
    """The windows of an operation, from its attributes and the shapes at both ends.

    Raises:
        UnwritableError: for sizes that are free, and channels that are not last.
    """
    if op.get_attr("data_format") not in (b"NHWC", "NHWC"):
        raise UnwritableError("channels first")
    if None in (*inputs[1:3], *outputs[1:3]):
        raise UnwritableError("free image sizes")
    kernel = tuple(size or op.get_attr("ksize")[1:3])
    strides = tuple(op.get_attr("strides")[1:3])
    padding = op.get_attr("padding")
    if padding not in (b"SAME", b"VALID"):
        raise UnwritableError("explicit padding")
    before = [0, 0]
    if padding == b"SAME":
        before = [
            max((outputs[n + 1] - 1) * strides[n] + kernel[n] - inputs[n + 1], 0) // 2
            for n in range(2)
        ]
    rows, columns = before
    return Window(kernel, strides, (rows, columns), tuple(inputs[1:3]), tuple(outputs[1:3]))


def gather_windows(x: Tensor, frame: Window, fill: float) -> list[Tensor]:
    """For every place in a window, the values of all windows there.

    Returns:
        tensors of shape (batch, *frame.outputs, channels).
    """
    spans = [(n - 1) * s for n, s in zip(frame.outputs, frame.strides, strict=True)]
    wanted = [span + size for span, size in zip(spans, frame.size, strict=True)]
    x = placed(x, dict(enumerate(zip(frame.before, wanted, strict=True), 1)), fill)
    return [
        x[:, i : i + spans[0] + 1 : frame.strides[0], j : j + spans[1] + 1 : frame.strides[1]]
        for i, j in frame.offsets()
    ]


def scatter_windows(pieces: Sequence[Tensor], frame: Window) -> Tensor:
    """Adds values up where `gather_windows` would take them from: its transpose."""
    found = dict(zip(frame.offsets(), pieces, strict=True))
    nothing = tf.zeros_like(pieces[0])
    down, across = frame.strides
    total = None
    # A block of `strides` places fills an image without gaps; blocks overlap, and are added.
    for top in range(0, frame.size[0], down):
        for left in range(0, frame.size[1], across):
            block = [
                [found.get((top + i, left + j), nothing) for j in range(across)]
                for i in range(down)
            ]
            image = interleaved([interleaved(row, 2) for row in block], 1)
            rows = (top - frame.before[0], frame.inputs[0])
            columns = (left - frame.before[1], frame.inputs[1])
            image = placed(image, {1: rows, 2: columns}, 0.0)
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
