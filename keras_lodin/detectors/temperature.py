"""The one check of a temperature."""

from __future__ import annotations

import math

from keras_lodin.utils.single_number import single_number


def checked_temperature(temperature: float) -> float:
    """The temperature as a float.

    Raises:
        ValueError: unless it is a number, and positive and finite in float32.
    """
    number = single_number(temperature)
    if number is None or not 0.0 < number < math.inf:
        raise ValueError(
            "`temperature` must be a positive, finite number. "
            f"Received: temperature={temperature!r}"
        )
    return number
