"""The one check of a temperature."""

from __future__ import annotations

import math


def checked_temperature(temperature: float) -> float:
    """The temperature as a float.

    Raises:
        ValueError: unless it is positive and finite.
    """
    if not 0.0 < temperature < math.inf:
        raise ValueError(
            f"`temperature` must be positive and finite. Received: temperature={temperature}"
        )
    return float(temperature)
