"""Data that keep the texture of a part and lose every object: made-up out-of-distribution data."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from keras_lodin.data.scrambled import scrambled

# Of each side of a sample, the part that is kept.
KEPT = 4


def mirrored(inputs: ArrayLike, seed: int = 0) -> np.ndarray:
    """Copies of inputs that show a random part of each sample, mirrored over the whole of it.

    Of images, series and volumes a part of a quarter of every side goes there and back over the
    sample, from a random phase on. Unlike blocks that change places this adds no edge: neighbours
    in the copy were neighbours in the sample, or are the same. Vectors have no arrangement within
    a sample; their copies are those of `scrambled`.

    Args:
        inputs: array of shape `(batch, ...)`, channels last.
        seed: of the parts and phases.

    Returns:
        array of the same shape and dtype.
    """
    values = np.asarray(inputs)
    if values.ndim == 2:
        return scrambled(values, seed)
    rng = np.random.default_rng(seed)
    count = len(values)
    for axis in range(1, values.ndim - 1):
        size = values.shape[axis]
        part = min(size, max(2, size // KEPT))
        steps = (np.arange(size) + rng.integers(2 * part, size=(count, 1))) % (2 * part)
        there_and_back = np.maximum(part - 1 - steps, steps - part)
        places = there_and_back + rng.integers(size - part + 1, size=(count, 1))
        shape = [count] + [1] * (values.ndim - 1)
        shape[axis] = size
        values = np.take_along_axis(values, places.reshape(shape), axis=axis)
    return values
