"""The one check of each setting that several detectors have."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from keras_lodin.utils.numbers import (
    check_whole,
    checked_number,
    several_numbers,
    single_number,
)

# What protocol buffers, and so ONNX files, hold, less room for a classifier.
_LARGEST_BANK = 2**31 - 2**28


def checked_epsilon(epsilon: float) -> float:
    """The size of a step on the input, as a float.

    Raises:
        ValueError: unless it is a finite fraction of the input range, 0 or more.
    """
    expected = "a number, a fraction of the input range, 0 or more"
    return checked_number("epsilon", epsilon, lambda value: value >= 0.0, expected)


def checked_temperature(temperature: float) -> float:
    """The temperature as a float.

    Raises:
        ValueError: unless it is a number, and positive and finite in float32.
    """
    expected = "a positive, finite number"
    return checked_number("temperature", temperature, lambda value: value > 0.0, expected)


def checked_numbers(
    name: str,
    values: Sequence[float] | None,
    holds: Callable[[tuple[float, ...]], bool],
    expected: str,
) -> tuple[float, ...] | None:
    """A setting of several numbers; None stays, for one that is left open.

    Raises:
        ValueError: for anything else, "`name` must `expected`".
    """
    if values is None:
        return None
    numbers = several_numbers(values)
    if numbers is None or not holds(numbers):
        raise ValueError(f"`{name}` must {expected}. Received: {name}={values!r}")
    return numbers


def checked_fraction(name: str, value: object) -> float:
    """A setting between 0 and 1, either included.

    Raises:
        ValueError: for anything else.
    """
    number = single_number(value)
    if number is None or not 0.0 <= number <= 1.0:
        raise ValueError(f"`{name}` must lie between 0 and 1. Received: {name}={value!r}")
    return float(number)


def checked_shrinkage(shrinkage: object) -> float | None:
    """The shrinkage of a covariance, between 0 and 1; None stays, to have it estimated.

    Raises:
        ValueError: for anything else.
    """
    if shrinkage is None:
        return None
    number = single_number(shrinkage)
    if number is None or not 0.0 <= number <= 1.0:
        raise ValueError(
            "`shrinkage` must lie between 0 and 1, or be None to have it estimated. "
            f"Received: shrinkage={shrinkage!r}"
        )
    return float(number)


def checked_flag(name: str, value: object) -> bool:
    """A setting that is True or False.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return bool(value)


def checked_positive(name: str, value: object) -> float:
    """A setting above 0, finite.

    Raises:
        ValueError: for anything else.
    """
    number = single_number(value)
    if number is None or not 0.0 < number < math.inf:
        raise ValueError(f"`{name}` must be a positive, finite number. Received: {name}={value!r}")
    return float(number)


def checked_count(name: str, value: object) -> int:
    """A setting that is a whole number, 1 or more.

    Raises:
        ValueError: for anything else.
    """
    check_whole(name, value, "at least 1")
    return int(value)  # type: ignore[call-overload]


def checked_bank_size(rows: int, size: int) -> tuple[int, int]:
    """The shape of a bank of feature vectors.

    Raises:
        ValueError: for one that no ONNX file can hold.
    """
    if 4 * rows * size >= _LARGEST_BANK:
        raise ValueError(
            f"A bank of {rows:,} vectors of {size:,} features takes {4 * rows * size / 2**30:.1f} "
            "GB, and an ONNX file holds less than 2 GB: set `bank_size` to "
            f"{_LARGEST_BANK // (8 * size):,} or less. Received: bank_size={rows}"
        )
    return rows, size
