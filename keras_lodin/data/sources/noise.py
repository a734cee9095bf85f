"""`noise`: independent random values, the crudest out-of-distribution inputs."""

from __future__ import annotations

import tensorflow as tf

from keras_lodin.data.source import Source

# Parts are different draws.
_PART_NUMBERS = {"train": 0, "calibration": 1, "test": 2, "all": 3}


def load_noise(
    name: str,
    distribution: str,
    count: int,
    *,
    part: str,
    image_shape: tuple[int | None, ...] | None,
    input_range: tuple[float, float],
    seed: int,
) -> Source:
    """Draws noise: uniform over the range, or gaussian around its middle.

    Args:
        name: The specification.
        distribution: `"uniform"`; or `"gaussian"`, whose standard deviation is a quarter of the
            range, clipped to the range (4.6 % of the values end at its ends).
        count: How many examples.
        part: Different parts are different draws.
        image_shape: Shape of one example, of any rank, without unknown dimensions.
        input_range: The range of the values, two numbers or two arrays that broadcast against an
            example.
        seed: Seed of the draws.

    Returns:
        An unlabelled `Source`.

    Raises:
        ValueError: If `image_shape` does not settle the shape.
    """
    shape = tuple(size for size in image_shape or () if size is not None)
    if image_shape is None or len(shape) < len(image_shape):
        raise ValueError(
            f"Noise has neither labels nor a shape of its own: {name!r} needs `image_shape`, that "
            "of a classifier's inputs such as (32, 32, 3), with every dimension known. "
            f"Received: image_shape={image_shape}"
        )
    low, high = input_range

    def draw(index: tf.Tensor) -> tuple[tf.Tensor]:
        key = tf.random.fold_in(tf.constant([seed, _PART_NUMBERS[part]], tf.int64), index)
        if distribution == "uniform":
            return (tf.random.stateless_uniform(shape, key, low, high),)
        values = tf.random.stateless_normal(shape, key, (low + high) / 2, (high - low) / 4)
        return (tf.clip_by_value(values, low, high),)

    return Source(
        name,
        tf.data.Dataset.from_tensor_slices((tf.range(count, dtype=tf.int64),)),
        lambda records: records.map(draw, num_parallel_calls=tf.data.AUTOTUNE),
        shape=shape,
        input_range=input_range,
        count=count,
        labelled=False,
    )
