"""Smooth noise over the range of the data: made-up out-of-distribution data without any object."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# Standard deviations of the smoothing, as powers of two of the first side.
COARSENESS = (-6.0, -2.0)


def clouds(inputs: ArrayLike, seed: int | np.random.Generator = 0) -> np.ndarray:
    """Smooth noise of a random coarseness in place of every input.

    Each sample is normal noise, of every channel its own, smoothed along all sides by a Gaussian
    of a 64th to a quarter of the first side, ends joined, and stretched over the range of the
    inputs. Nothing of a sample is kept but its shape. Vectors have no sides: of each feature
    values are drawn uniformly over that feature's range.

    Args:
        inputs: array of shape `(batch, ...)`, channels last.
        seed: of the noise, or a generator that draws it.

    Returns:
        array of the same shape and dtype, within the range of the inputs.
    """
    values = np.asarray(inputs)
    rng = np.random.default_rng(seed)
    if values.ndim == 2:
        drawn = rng.uniform(values.min(axis=0), values.max(axis=0), values.shape)
        return drawn.astype(values.dtype)
    low, high = float(values.min()), float(values.max())
    shape = values.shape[1:]
    sides = tuple(range(len(shape) - 1))
    # Of the squared frequency along all sides together, in cycles per element.
    squared = sum(
        np.expand_dims(np.fft.fftfreq(shape[side]) ** 2, tuple({*range(len(shape))} - {side}))
        for side in sides
    )
    result = np.empty_like(values)
    for sample in result:
        width = shape[0] * 2.0 ** rng.uniform(*COARSENESS)
        spectrum = np.fft.fftn(rng.normal(size=shape), axes=sides)
        spectrum *= np.exp(-2.0 * (np.pi * width) ** 2 * squared)
        smooth = np.fft.ifftn(spectrum, axes=sides).real
        smooth -= smooth.min()
        highest = smooth.max()
        # A sample of one element has nothing to stretch.
        share = smooth / highest if highest > 0.0 else 0.5
        # Rounding must not leave the range.
        sample[...] = np.clip(low + (high - low) * share, low, high)
    return result
