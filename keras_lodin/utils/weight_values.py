"""What a weight holds now, and what a function gives, asked while a graph is being built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

T = TypeVar("T")


def eager_value(variable: keras.Variable) -> np.ndarray:
    """The present value of a Keras variable, in eager mode and while a `tf.function` is traced."""
    with tf.init_scope():
        return variable.value.numpy()


def shortest_float(variable: keras.Variable) -> float:
    """A float32 weight as the Python float that a person would have typed."""
    return float(str(np.float32(keras.ops.convert_to_numpy(variable))))


def run_eagerly(function: Callable[[], T]) -> T:
    """What a function returns when it is run at once, even while a `tf.function` is traced."""
    with tf.init_scope():
        return function()
