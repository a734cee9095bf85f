"""Float32 numbers as whole numbers in the same order, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SIGN = np.uint32(1 << 31)


def ordered_bits(scores: ArrayLike) -> NDArray[np.uint32]:
    """The bits of float32 numbers, turned so that they have the numbers' order; -0.0 is 0.0."""
    # A negative number has the higher bits the lower it is; -0.0 + 0.0 is 0.0.
    bits = (np.asarray(scores, np.float32) + np.float32(0.0)).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def numbers_of(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The float32 numbers of bits in order; of those of a NaN the infinity next to them."""
    bits = np.clip(np.asarray(bits, np.uint32), LOWEST, HIGHEST)
    return np.where(bits & _SIGN, bits ^ _SIGN, ~bits).view(np.float32)


LOWEST = ordered_bits(-np.inf)[()]
HIGHEST = ordered_bits(np.inf)[()]
