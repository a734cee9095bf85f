"""Resizing an image in NumPy: two products with matrices, one for each axis."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`tf.image.resize(image, size, antialias=True)`: bilinear, averaging where it shrinks.

    Args:
        image: float32, shape (height, width, channels).
        size: the height and width wanted.
    """
    height, width, channels = image.shape
    rows = _matrix(height, size[0]) @ image.reshape(height, width * channels)
    return _matrix(width, size[1]) @ rows.reshape(size[0], width, channels)


@lru_cache(maxsize=16)
def _matrix(before: int, after: int) -> np.ndarray:
    """What resizes one axis: float32, shape (after, before), rows that sum to 1."""
    scale = before / after
    # Triangles around the places of the new pixels, as wide as a new pixel, an old one at least.
    centres = (np.arange(after)[:, None] + 0.5) * scale
    distances = np.abs(np.arange(before) + 0.5 - centres) / max(scale, 1.0)
    weights = np.maximum(1.0 - distances, 0.0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype("float32")
