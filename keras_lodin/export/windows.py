"""Where the windows of a convolution or pooling lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_lodin.export.unwritable_error import UnwritableError

# None for an unknown rank.
Shape = Sequence[int | None] | None


@dataclass(frozen=True)
class Window:
    """Sliding windows over the spatial axes of an input.

    Attributes:
        kernel: sizes of the window.
        strides: steps between windows.
        dilations: steps inside a window.
        kind: TensorFlow's "SAME", "VALID" or "EXPLICIT".
        explicit: padding before and after, for "EXPLICIT".
        input_sizes: spatial sizes of the input; none where one of them is free.
        output_sizes: so of the output.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    kind: str
    explicit: tuple[list[int], list[int]]
    input_sizes: list[int]
    output_sizes: list[int]

    @property
    def free(self) -> bool:
        """Whether a size is known only when the graph runs."""
        return not (self.input_sizes and self.output_sizes)

    @property
    def reach(self) -> list[int]:
        """Sizes of a window with its gaps: d (k - 1) + 1."""
        return [d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True)]

    def padding(self) -> tuple[list[int], list[int]]:
        """Pixels added before and after the input, where its sizes are known.

        A negative number after means that the windows end before the input does.
        """
        if self.free:
            raise UnwritableError("the padding of a free size is not a number")
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


def window_of(
    attribute: Callable[[str, Any], Any], kernel: Sequence[int], inputs: Shape, outputs: Shape
) -> Window:
    """The windows of an operation.

    Args:
        attribute: gives an attribute of a convolution, a pooling, or the gradient of one, by its
            name and the default.
        kernel: sizes of the window.
        inputs: shape of what the windows slide over, channels last, as far as it is known.
        outputs: shape of what they give.
    """
    if attribute("data_format", "NHWC") not in ("NHWC", "NDHWC"):
        raise UnwritableError("a layout with the channels first cannot be converted")
    strides = list(attribute("strides", None))[1:-1]
    dilations = list(attribute("dilations", [1] * (len(kernel) + 2)))[1:-1]
    amounts = attribute("explicit_paddings", None) or [0, 0] * (len(kernel) + 2)
    explicit = np.reshape(amounts, (-1, 2))
    return Window(
        list(kernel),
        strides,
        dilations,
        str(attribute("padding", None)),
        (explicit[1:-1, 0].tolist(), explicit[1:-1, 1].tolist()),
        _spatial(inputs),
        _spatial(outputs),
    )


def _spatial(shape: Shape) -> list[int]:
    """The spatial sizes of a shape with the channels last; none if one is free."""
    sizes = [size for size in (shape or ())[1:-1] if size is not None]
    return sizes if shape is not None and len(sizes) == len(shape) - 2 else []
