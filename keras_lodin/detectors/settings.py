"""The one check of a step's size."""

from __future__ import annotations

import math

from keras_lodin.utils.single_number import single_number


def checked_epsilon(epsilon: float) -> float:
    """The size of a step on the input, as a float.

    Raises:
        ValueError: unless it is a finite fraction of the input range, 0 or more.
    """
    number = single_number(epsilon)
    if number is None or not 0.0 <= number < math.inf:
        raise ValueError(
            "`epsilon` must be a number, a fraction of the input range, 0 or more. "
            f"Received: epsilon={epsilon!r}"
        )
    return number
