"""`photos`: square patches of the two photographs that come with scikit-learn."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_lodin.data.pipeline import pixel_transform, resolve_shapes
from keras_lodin.data.source import Source

_NATURAL_SHAPE = (64, 64, 3)
# The photographs are 427x640. Larger patches would leave too few different ones in a third of
# their width.
_LARGEST_PATCH = 192
# The thirds of the photographs' width that belong to the parts: no pixel is in two of them.
_BANDS = {"train": (0, 213), "calibration": (213, 426), "test": (426, 640), "all": (0, 640)}


def load_photos(
    name: str,
    count: int,
    *,
    part: str,
    image_shape: tuple[int | None, ...] | None,
    input_range: tuple[float, float],
    seed: int,
) -> Source:
    """Loads patches of 64 pixels, or of the wanted size if larger (192 at most), then resized.

    Args:
        name: The specification.
        count: How many patches; all of them are different.
        part: `"train"`, `"calibration"` and `"test"` take disjoint thirds of the photographs,
            `"all"` the whole.
        image_shape: Shape of one example, or `None` for (64, 64, 3).
        input_range: Where the values 0 and 255 go.
        seed: Seed of the choice of patches.

    Returns:
        An unlabelled `Source`.

    Raises:
        ValueError: If there are not as many different patches.
    """
    from sklearn.datasets import load_sample_images

    photos = np.stack(load_sample_images().images)
    shapes = resolve_shapes(name, _NATURAL_SHAPE, image_shape)
    size = min(max(*_NATURAL_SHAPE[:2], *shapes[0][:2]), _LARGEST_PATCH)
    left, right = _BANDS[part]
    places = (len(photos), photos.shape[1] - size + 1, right - left - size + 1)
    if count > np.prod(places):
        raise ValueError(
            f"There are {np.prod(places)} different patches of {size} pixels in part {part!r} of "
            f"the photographs. Ask for at most so many. Received: {name!r}"
        )
    chosen = np.random.default_rng(seed).choice(np.prod(places), count, replace=False)
    photo, top, column = np.unravel_index(chosen, places)
    corners = np.stack([photo, top, left + column, np.zeros_like(photo)], axis=1)

    transform = pixel_transform(shapes, input_range)
    with tf.device("CPU"):
        stored = tf.constant(photos)

    def patch(corner: tf.Tensor) -> tuple[tf.Tensor]:
        return (transform(tf.slice(stored, corner, (1, size, size, 3))[0]),)

    return Source(
        name,
        tf.data.Dataset.from_tensor_slices((corners,)),
        lambda records: records.map(patch, num_parallel_calls=tf.data.AUTOTUNE),
        shape=shapes[1],
        input_range=input_range,
        count=count,
        labelled=False,
    )
