"""Where the windows of a convolution or pooling lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_lodin.export.onnx.rules.builder import Builder, Shape, Value


@dataclass(frozen=True)
class Window:
    """Sliding windows over the spatial axes of an input.

    Attributes:
        kernel: sizes of the window.
        strides: steps between windows.
        dilations: steps inside a window.
        kind: TensorFlow's "SAME", "VALID" or "EXPLICIT".
        explicit: padding before and after, for "EXPLICIT".
        input_sizes: spatial sizes of the input, or None if one of them is free.
        output_sizes: spatial sizes of the output, or None if one of them is free.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    kind: str
    explicit: tuple[list[int], list[int]]
    input_sizes: list[int] | None
    output_sizes: list[int] | None

    @property
    def free(self) -> bool:
        """Whether a size is known only when the graph runs."""
        return self.input_sizes is None or self.output_sizes is None

    @property
    def reach(self) -> list[int]:
        """Sizes of a window with its gaps: d (k - 1) + 1."""
        return [d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True)]

    def padding(self) -> tuple[list[int], list[int]]:
        """Pixels added before and after the input, where its sizes are known.

        A negative number after means that the windows end before the input does.
        """
        if self.input_sizes is None or self.output_sizes is None:
            raise ValueError("the padding of a free size is not a number")
        needed = [
            (m - 1) * s + reach - n
            for m, s, reach, n in zip(
                self.output_sizes, self.strides, self.reach, self.input_sizes, strict=True
            )
        ]
        if self.kind == "SAME":
            before = [max(n, 0) // 2 for n in needed]
        elif self.kind == "EXPLICIT":
            before = list(self.explicit[0])
        else:
            before = [0] * len(needed)
        return before, [n - b for n, b in zip(needed, before, strict=True)]

    def attributes(self) -> dict[str, object]:
        """ONNX's attributes of the forward pass: sizes, strides and padding."""
        found: dict[str, object] = {"kernel_shape": self.kernel, "strides": self.strides}
        if self.kind == "VALID":
            return found
        if self.free and self.kind == "SAME":
            return {**found, "auto_pad": "SAME_UPPER"}
        before, after = self.explicit if self.kind == "EXPLICIT" else self.padding()
        return {**found, "pads": before + [max(n, 0) for n in after]}


def window_of(builder: Builder, kernel: Sequence[int], inputs: Value, outputs: Value) -> Window:
    """The windows of the builder's node.

    Args:
        builder: at a convolution, a pooling, or the gradient of one.
        kernel: sizes of the window.
        inputs: what the windows slide over, channels last.
        outputs: what they give.
    """
    if builder.attribute("data_format", "NHWC") not in ("NHWC", "NDHWC"):
        raise ValueError("a layout with the channels first cannot be converted")
    strides = list(builder.attribute("strides"))[1:-1]
    dilations = list(builder.attribute("dilations", [1] * (len(kernel) + 2)))[1:-1]
    amounts = builder.attribute("explicit_paddings", None) or [0, 0] * (len(kernel) + 2)
    explicit = np.reshape(amounts, (-1, 2))
    return Window(
        list(kernel),
        strides,
        dilations,
        str(builder.attribute("padding")),
        (explicit[1:-1, 0].tolist(), explicit[1:-1, 1].tolist()),
        _spatial(inputs.shape),
        _spatial(outputs.shape),
    )


def _spatial(shape: Shape | None) -> list[int] | None:
    """The spatial sizes of a shape with the channels last, or None if one is free."""
    sizes = [] if shape is None else [size for size in shape[1:-1] if size is not None]
    return sizes if shape is not None and len(sizes) == len(shape) - 2 else None


def sliced_to_size(
    builder: Builder, full: Value, upstream: Value, window: Window, sizes: Value
) -> Value:
    """Cuts the input's pixels out of everything that the windows cover, for free sizes.

    Args:
        builder: where to write.
        full: (batch, channels, *spatial) from the first window's first pixel on.
        upstream: dy, channels first.
        window: the windows.
        sizes: the shape of the input, channels last, as a tensor.

    Returns:
        (batch, channels, *spatial) of the input's sizes; zero where no window reaches.
    """
    spatial = len(window.kernel)
    starts = builder.shape(*_padding_before(upstream, window, sizes.int64()))
    # Less than a stride of the input can lie behind the last window, unless the padding does.
    spare = [stride + reach for stride, reach in zip(window.strides, window.reach, strict=True)]
    padded = full.op("Pad", [0] * (spatial + 2) + [0, 0, *spare])
    ends = starts + sizes.int64().op("Slice", [1], [1 + spatial])
    return padded.op("Slice", starts, ends, [2 + axis for axis in range(spatial)])


def _padding_before(upstream: Value, window: Window, sizes: Value) -> list[Value] | list[int]:
    """Pixels added before each spatial axis while the graph runs."""
    if window.kind != "SAME":
        return window.explicit[0]
    padding = []
    for axis, (stride, reach) in enumerate(zip(window.strides, window.reach, strict=True)):
        covered = upstream.size(axis + 2) * stride + (reach - stride)
        padding.append((covered - sizes.entry(axis + 1)).op("Max", 0) // 2)
    return padding
