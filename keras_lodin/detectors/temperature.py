"""The one check of a temperature."""

from __future__ import annotations

import math
from numbers import Real


def checked_temperature(temperature: float) -> float:
    """The temperature as a float.

    Raises:
        ValueError: unless it is positive and finite.
    """
    if not isinstance(temperature, Real) or not 0.0 < temperature < math.inf:
        raise ValueError(
            "`temperature` must be a positive, finite number. "
            f"Received: temperature={temperature!r}"
        )
    return float(temperature)
