"""The one check of each setting that several detectors have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras_lodin.utils.numbers import checked_number, several_numbers


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
