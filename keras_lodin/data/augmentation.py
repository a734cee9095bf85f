"""Random changes to training images, each a pure function of an image and a seed."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_CROP_PADDING = 4


def crop_and_flip(image: tf.Tensor, seed: tf.Tensor, fill: float | np.ndarray) -> tf.Tensor:
    """The usual recipe for CIFAR: a shift of up to 4 pixels, and a mirror image half of the time.

    Args:
        image: An image, shape (height, width, channels).
        seed: Two int64. Equal seeds give equal results.
        fill: The value of the pixels that come in at the border: black.

    Returns:
        An image of the same shape.
    """
    margin = [_CROP_PADDING, _CROP_PADDING]
    padded = tf.pad(image, [margin, margin, [0, 0]], constant_values=fill)
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    cropped = tf.image.stateless_random_crop(padded, image.shape, crop_seed)
    return tf.image.stateless_random_flip_left_right(cropped, flip_seed)


AUGMENTATIONS = {"crop-flip": crop_and_flip}
