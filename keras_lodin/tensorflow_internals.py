"""The names of TensorFlow that are not public, all in one place.

Checked with TensorFlow 2.18 to 2.21 (`tests/test_tensorflow_internals.py` holds them to their
contract).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorflow.python.framework import ops


def gradient_function(operation: Any) -> Callable[..., Any] | None:
    """The function that TensorFlow differentiates an operation of a graph with.

    Args:
        operation: a `tf.Operation`.

    Returns:
        a function of the operation and one cotangent per output, which gives one cotangent per
        input, or None for an operation without a derivative.
    """
    try:
        return ops.get_gradient_function(operation)
    except LookupError:
        return None
