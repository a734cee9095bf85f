"""Data that keep their values and lose their arrangement: made-up out-of-distribution data."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def scrambled(inputs: ArrayLike, seed: int | np.random.Generator = 0) -> np.ndarray:
    """Copies of inputs that keep their values and lose their arrangement.

    Images, series and volumes are cut into about 16 equal blocks that change places within the
    sample; a remainder at the far edge stays. Vectors have no arrangement within a sample, so
    each feature is shuffled among the samples instead, which keeps every feature's distribution
    and breaks how features go together.

    Args:
        inputs: array of shape `(batch, ...)`, channels last.
        seed: of the shuffling, or a generator that draws it.

    Returns:
        array of the same shape and dtype.
    """
    values = np.array(inputs)
    rng = np.random.default_rng(seed)
    if values.ndim == 2:
        return rng.permuted(values, axis=0)
    axes = values.ndim - 2
    blocks = [min(size, max(2, round(16 ** (1 / axes)))) for size in values.shape[1:-1]]
    sizes = [size // count for size, count in zip(values.shape[1:-1], blocks, strict=True)]
    corners = [
        tuple(slice(i * size, (i + 1) * size) for i, size in zip(place, sizes, strict=True))
        for place in np.ndindex(*blocks)
    ]
    pieces = np.stack([values[(slice(None), *corner)] for corner in corners], axis=1)
    order = rng.permuted(np.tile(np.arange(len(corners)), (len(values), 1)), axis=1)
    for slot, corner in enumerate(corners):
        values[(slice(None), *corner)] = pieces[np.arange(len(values)), order[:, slot]]
    return values
