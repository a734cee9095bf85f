"""Resizing an image in NumPy: weighted sums of few pixels, along one axis and then the other."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`tf.image.resize(image, size, antialias=True)`: bilinear, averaging where it shrinks.

    Args:
        image: float32, shape (height, width, channels).
        size: the height and width wanted.
    """
    for axis, after in enumerate(size):
        places, weights = _sums(image.shape[axis], after)
        image = sum(
            np.take(image, place, axis) * weight.reshape((-1, 1, 1) if axis == 0 else (-1, 1))
            for place, weight in zip(places, weights, strict=True)
        )
    return image


@lru_cache(maxsize=64)
def _sums(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that each new one along an axis is made of, and their weights, which sum to 1.

    Returns:
        int64 and float32 arrays, both of shape (pixels that one is made of, after).
    """
    scale = before / after
    # Triangles around the places of the new pixels, as wide as a new pixel, an old one at least.
    radius = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale - 0.5
    places = np.ceil(centres - radius) + np.arange(math.ceil(2.0 * radius) + 1)[:, None]
    weights = np.maximum(1.0 - np.abs(places - centres) / radius, 0.0)
    weights[(places < 0) | (places >= before)] = 0.0
    places = places.clip(0, before - 1).astype("int64")
    return places, (weights / weights.sum(axis=0)).astype("float32")
