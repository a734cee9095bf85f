"""Resizing an image as two products of matrices, one for each axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_lodin.utils.tensor import Tensor


def resizing_matrix(
    operation: str, before: int, after: int, options: Mapping[str, object]
) -> np.ndarray:
    """The matrix R of one axis, with y = R x.

    TensorFlow's own operation says it: resized is an image of one column whose channels are the
    unit vectors.

    Args:
        operation: "ResizeBilinear" or another of TensorFlow's that resize each axis by itself.
        before: the size of x.
        after: the size of y.
        options: the operation's other arguments.

    Returns:
        float32 array of shape `(after, before)`.
    """
    image = np.eye(before, dtype="float32").reshape(1, before, 1, before)
    with tf.init_scope():
        resize = getattr(tf.raw_ops, operation)
        rows = resize(images=tf.constant(image), size=[after, 1], **options)
    return rows.numpy().reshape(after, before)


def resized(images: Tensor, matrices: Sequence[np.ndarray]) -> Tensor:
    """Images of shape `(batch, height, width, channels)`, with a matrix applied to each axis.

    Args:
        images: tensor of known sizes, the batch's apart.
        matrices: of the height and of the width, `(after, before)` each.
    """
    down, right = (tf.constant(matrix) for matrix in matrices)
    height, width, channels = images.shape[1:]
    rows = tf.matmul(down, tf.reshape(images, [-1, height, width * channels]))
    columns = tf.matmul(right, tf.reshape(rows, [-1, width, channels]))
    return tf.reshape(columns, [-1, down.shape[0], right.shape[0], channels])
