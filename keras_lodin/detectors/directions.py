"""Lengths and directions of features, also where there is none, and what is nearest."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lodin.utils.tensor import Tensor

_SHORTEST = 1e-12
# What is nearer to the mean, as a fraction of the mean's length, is at it: float32 knows no better.
_AT_THE_MEAN = 1e-6


def on_sphere(features: Tensor) -> Tensor:
    """Features divided by their lengths; zeros stay zeros."""
    return features / _lengths(features)


def rows_on_sphere(features: np.ndarray) -> np.ndarray:
    """What `on_sphere` does, for arrays of training features."""
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), _SHORTEST)


def through_sphere(features: Tensor, cotangent: Tensor) -> Tensor:
    """The cotangent of features, of a cotangent of `on_sphere(features)`."""
    unit = on_sphere(features)
    along = ops.sum(unit * cotangent, axis=-1, keepdims=True)
    return (cotangent - along * unit) / _lengths(features)


def distance_to_mean(features: Tensor, mean: Tensor) -> Tensor:
    """Distances to the mean of training features, above 0: `(batch,)`.

    At the mean itself they are a millionth of its length, so that what is divided by them is
    finite.
    """
    distances = ops.sqrt(ops.sum(ops.square(features - mean), axis=-1))
    least = _AT_THE_MEAN * ops.sqrt(ops.sum(ops.square(mean)))
    return ops.maximum(distances, ops.maximum(least, _SHORTEST))


def row_of_largest(table: Tensor, values: Tensor) -> Tensor:
    """The row of a table that the largest of a sample's values names.

    Args:
        table: `(count, size)`.
        values: `(batch, count)`; among NaN any row is the largest.

    Returns:
        tensor of shape `(batch, size)`.
    """
    places = ops.argmax(values, axis=-1)
    # LiteRT has a place far outside for NaN, and refuses to look there. Its converter takes a clip
    # to 0 and 6 for a ReLU6, which integers do not have.
    inside = ops.logical_and(places >= 0, places < table.shape[0])
    places = ops.where(inside, places, ops.zeros_like(places))
    return ops.take(table, places, axis=0)


def _lengths(features: Tensor) -> Tensor:
    squares = ops.sum(ops.square(features), axis=-1, keepdims=True)
    return ops.maximum(ops.sqrt(squares), _SHORTEST)
