"""Which values a classifier's input expects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops


def guess_input_range(classifier: keras.Model) -> tuple[float, float]:
    """The range of input values that a classifier was made for, judged by its first layers.

    Args:
        classifier: a Keras model.

    Returns:
        `(0, 255)` if the classifier begins with a `Rescaling` by less than 0.1, or with a
        `Normalization` whose mean lies above 1: it takes pixels as decoded. Otherwise `(0, 1)`.
    """
    for layer in _layers_in_order(classifier):
        if isinstance(layer, keras.layers.Rescaling):
            return (0.0, 255.0) if np.max(np.abs(layer.scale)) < 0.1 else (0.0, 1.0)
        if isinstance(layer, keras.layers.Normalization):
            return (0.0, 255.0) if np.max(ops.convert_to_numpy(layer.mean)) > 1.0 else (0.0, 1.0)
        if layer.weights:  # The preprocessing ends where learning begins.
            break
    return 0.0, 1.0


def _layers_in_order(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "layers", []):
        if isinstance(layer, keras.Model):
            yield from _layers_in_order(layer)
        else:
            yield layer
