"""Checks of numbers that a user gives, each in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any

from keras_lodin.utils.single_number import single_number


def checked_number(name: str, value: Any, holds: Callable[[float], bool], expected: str) -> float:
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


def check_whole(name: str, value: Any, expected: str, *, most: int = 2**31 - 1) -> None:
    """Raises ValueError unless a value is a whole number from 1 to `most`.

    Args:
        name: of the argument, for the message.
        value: as given.
        expected: what it must be, for the message.
        most: the largest number; TensorFlow's sizes end where the default is.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not 1 <= value <= most:
        limit = f", and {most} at most" if is_whole and value > most else ""
        raise ValueError(f"`{name}` must be {expected}{limit}. Received: {name}={value!r}")


def check_seed(seed: Any) -> None:
    """Raises ValueError unless it is a seed that numpy, TensorFlow and Python all take."""
    is_whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not is_whole or not 0 <= seed < 2**32:
        raise ValueError(
            f"`seed` must be a whole number from 0 to {2**32 - 1}. Received: seed={seed!r}"
        )
