"""What a weight holds now, asked while a graph is being built."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def eager_value(variable: Any) -> np.ndarray:
    """The present value of a Keras variable, in eager mode and while a `tf.function` is traced.

    Args:
        variable: a `keras.Variable`.

    Returns:
        a numpy array of its shape and dtype.
    """
    with tf.init_scope():
        return variable.value.numpy()
