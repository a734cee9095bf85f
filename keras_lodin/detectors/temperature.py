"""The one check of a temperature."""

from __future__ import annotations

import numpy as np

from keras_lodin.number_checks import checked_number

_SMALLEST, _LARGEST = float(np.finfo("float32").tiny), float(np.finfo("float32").max)


def checked_temperature(temperature: float) -> float:
    """The temperature as a float.

    Raises:
        ValueError: unless it is positive and finite.
    """
    # It is kept and divided by in float32, where 1e39 is infinite and 1e-46 is zero.
    return checked_number(
        "temperature",
        temperature,
        lambda value: _SMALLEST <= value <= _LARGEST,
        "a positive, finite number, in float32 too",
    )
