"""The one check of an input range, and of inputs against it."""

from __future__ import annotations

import math
from typing import Any

from keras import ops


def checked_input_range(input_range: tuple[float, float]) -> tuple[float, float]:
    """The range as two floats.

    Raises:
        ValueError: unless it is `(lo, hi)`, finite, with lo < hi.
    """
    try:
        # Of a text the digits would be the bounds.
        low, high = () if isinstance(input_range, str) else map(float, input_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError(
            "`input_range` must be two finite numbers, the lowest and the highest input value, "
            f"such as (0, 1) or (0, 255). Received: input_range={input_range!r}"
        )
    return low, high


def check_in_range(inputs: Any, input_range: tuple[float, float]) -> None:
    """Raises ValueError for a batch with values outside of a detector's range.

    Values that fill only a small part of it are not noticed.

    Args:
        inputs: a batch of inputs, numpy array or tensor.
        input_range: the range.
    """
    values = ops.convert_to_numpy(inputs)
    low, high = input_range
    least, most = float(values.min()), float(values.max())
    # Resizing and augmentation may overshoot by a rounding error.
    slack = 1e-3 * (high - low)
    if least < low - slack or most > high + slack:
        raise ValueError(
            f"Inputs must lie in the detector's input_range=({low:g}, {high:g}), which its "
            "settings are measured in. Pass the range of the classifier's inputs as "
            "`input_range` (--input-range LO HI), or scale the inputs to it. "
            f"Received: values from {least:g} to {most:g}"
        )
