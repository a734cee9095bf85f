"""Numbers that a user gives: what is one, and the checks, each in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import TypeGuard

import numpy as np

from keras_lodin.utils.late_keras import ops
from keras_lodin.utils.tensor import Tensor


def single_number(value: object) -> float | None:
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


def several_numbers(values: object) -> tuple[float, ...] | None:
    """A setting of one or several numbers, each as `single_number` has it; None if one is none."""
    if isinstance(values, (str, bytes)):
        return None
    numbers = []
    for value in np.ravel(np.asarray(values, dtype=object)):
        number = single_number(value)
        if number is None:
            return None
        numbers.append(number)
    return tuple(numbers)


def checked_number(
    name: str, value: object, holds: Callable[[float], bool], expected: str
) -> float:
    """A finite number as a float; finite in float32 too, in which it will be used.

    Args:
        name: of the argument, for the message.
        value: as given.
        holds: whether a number can be taken.
        expected: what it must be, for the message.

    Raises:
        ValueError: for anything else, also for True and False.
    """
    number = single_number(value)
    if number is None or not math.isfinite(number) or not holds(number):
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")
    return number


def check_whole(name: str, value: object, expected: str, *, most: int = 2**31 - 1) -> None:
    """Raises ValueError unless a value is a whole number from 1 to `most`.

    Args:
        name: of the argument, for the message.
        value: as given.
        expected: what it must be, for the message.
        most: the largest number; TensorFlow's sizes end where the default is.
    """
    if not _is_whole(value) or not 1 <= value <= most:
        limit = f", and {most} at most" if _is_whole(value) and value > most else ""
        raise ValueError(f"`{name}` must be {expected}{limit}. Received: {name}={value!r}")


def check_seed(seed: object) -> None:
    """Raises ValueError unless it is a seed that numpy, TensorFlow and Python all take."""
    if not _is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(
            f"`seed` must be a whole number from 0 to {2**32 - 1}. Received: seed={seed!r}"
        )


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool)


def shortest_float(variable: Tensor) -> float:
    """A float32 weight as the Python float that a person would have typed."""
    return float(str(np.float32(ops.convert_to_numpy(variable))))
