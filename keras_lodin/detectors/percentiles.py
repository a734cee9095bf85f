"""Percentiles of training data for every value that a setting may take, known after one `adapt`."""

from __future__ import annotations

import numpy as np

from keras_lodin.utils.numbers import single_number
from keras_lodin.utils.tensor import Tensor

_STEPS = 1000
TABLE_SIZE = _STEPS + 1
# Bytes of a sample of training data from which percentiles are taken.
_SAMPLE_BYTES, _MOST_SAMPLES = 2**28, 10_000


def checked_percentile(name: str, value: object) -> float:
    """A percentile as a fraction between 0 and 1 of whole thousandths.

    Raises:
        ValueError: for anything else.
    """
    number = single_number(value)
    thousandths = None if number is None else round(number * _STEPS)
    if number is None or not 0 <= number <= 1 or abs(number * _STEPS - (thousandths or 0)) > 1e-6:
        raise ValueError(
            f"`{name}` must be a fraction between 0 and 1, of whole thousandths (0.9 for the 90th "
            f"percentile). Received: {name}={value!r}"
        )
    return float(number)


def percentile_table(values: np.ndarray, method: str = "linear") -> np.ndarray:
    """The percentiles of values for all thousandths.

    Args:
        values: array of any shape, not empty.
        method: see `numpy.quantile`.

    Returns:
        array of shape `(TABLE_SIZE,)`.
    """
    return np.quantile(values, np.arange(TABLE_SIZE) / _STEPS, method=method)  # type: ignore[call-overload]


def in_table(table: Tensor, percentile: float) -> Tensor:
    """The percentile, a fraction of whole thousandths, as a table has it."""
    return table[round(percentile * _STEPS)]


def sample_capacity(size: int) -> int:
    """How many vectors of `size` numbers to keep for percentiles."""
    return min(_MOST_SAMPLES, max(1, _SAMPLE_BYTES // (4 * size)))
