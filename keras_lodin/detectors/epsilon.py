"""The one check of a step's size."""

from __future__ import annotations

import numpy as np

from keras_lodin.number_checks import checked_number

_LARGEST = float(np.finfo("float32").max)


def checked_epsilon(epsilon: float) -> float:
    """The size of a step on the input, as a float.

    Raises:
        ValueError: unless it is a finite fraction of the input range, 0 or more.
    """
    return checked_number(
        "epsilon",
        epsilon,
        lambda value: 0.0 <= value <= _LARGEST,
        "a number, a fraction of the input range, 0 or more",
    )
