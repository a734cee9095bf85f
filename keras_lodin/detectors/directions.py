"""Lengths and directions of features, also where there is none."""

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


def _lengths(features: Tensor) -> Tensor:
    squares = ops.sum(ops.square(features), axis=-1, keepdims=True)
    return ops.maximum(ops.sqrt(squares), _SHORTEST)
