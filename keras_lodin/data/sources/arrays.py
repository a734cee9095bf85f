"""Sources whose examples lie in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_lodin.data.source import Source
from keras_lodin.data.value_range import Bounds


def array_source(
    name: str,
    x: np.ndarray,
    y: np.ndarray | None,
    transform: Callable[[tf.Tensor], tf.Tensor],
    *,
    shape: tuple[int, ...],
    input_range: Bounds,
    class_names: tuple[str, ...] | None = None,
    scaled: bool = True,
) -> Source:
    """Makes a source of arrays.

    Args:
        name: The specification.
        x: What is stored, shape (count, ...), in the order the source shall have.
        y: int64 labels, shape (count,), or `None`.
        transform: Function from one stored x to one example, float32 of shape `shape`.
        shape: Shape of one example.
        input_range: The smallest and the largest value that examples take.
        class_names: Names of the classes, where known.
        scaled: Whether `transform` brings values to `input_range`.

    Returns:
        A `Source`.
    """
    # An accelerator's memory is for the classifier; tf.data works on the host.
    with tf.device("CPU"):
        stored = tf.constant(x)
        labels = None if y is None else tf.constant(y, tf.int64)

    def example(index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # A slice, not tf.gather: what a gather cannot find it replaces by zeros in silence.
        inputs = transform(stored[index])
        return (inputs,) if labels is None else (inputs, labels[index])

    return Source(
        name,
        tf.data.Dataset.from_tensor_slices((tf.range(len(x), dtype=tf.int64),)),
        lambda records: records.map(example, num_parallel_calls=tf.data.AUTOTUNE),
        shape=shape,
        input_range=input_range,
        count=len(x),
        labelled=y is not None,
        class_names=class_names,
        scaled=scaled,
    )
