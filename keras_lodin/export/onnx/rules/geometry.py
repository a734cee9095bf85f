"""ONNX's words for where windows lie, and windows over free sizes."""

from __future__ import annotations

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.windows import Window


def forward_attributes(window: Window) -> dict[str, object]:
    """ONNX's attributes of the forward pass: sizes, strides and padding."""
    found: dict[str, object] = {"kernel_shape": window.kernel, "strides": window.strides}
    if window.kind == "VALID":
        return found
    if window.free and window.kind == "SAME":
        return {**found, "auto_pad": "SAME_UPPER"}
    before, after = window.explicit if window.kind == "EXPLICIT" else window.padding()
    return {**found, "pads": before + [max(n, 0) for n in after]}


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
