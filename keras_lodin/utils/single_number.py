"""The one check that a setting is a number, and not what merely reads or counts like one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def single_number(value: Any) -> float | None:
    """A setting as the float32 number that it will be used as.

    Args:
        value: a number of Python, of NumPy or of TensorFlow.

    Returns:
        the number, as given where float32 can tell it from 0 and from infinity; None for texts,
        truth values, arrays of any axes and all else.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # lists of unequal lengths, symbolic tensors
        return None
    if array.ndim or array.dtype.kind not in "fiu":
        return None
    try:
        number = float(array)
    except (TypeError, ValueError, OverflowError):
        return None
    with np.errstate(over="ignore", under="ignore"):
        used = float(np.float32(number))
    return number if math.isfinite(used) and used else used


def several_numbers(values: Any) -> tuple[float, ...] | None:
    """A setting of several numbers, or of one, each as `single_number` has it.

    Args:
        values: numbers in a list, a tuple or an array.

    Returns:
        the numbers; None where one of them is none.
    """
    if isinstance(values, (str, bytes)):
        return None
    numbers = []
    for value in np.ravel(np.asarray(values, dtype=object)):
        number = single_number(value)
        if number is None:
            return None
        numbers.append(number)
    return tuple(numbers)
