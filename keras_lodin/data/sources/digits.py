"""`digits`: the handwritten digits that come with scikit-learn (UCI optdigits test set)."""

from __future__ import annotations

import numpy as np

from keras_lodin.data.pipeline import pixel_transform, resolve_shapes
from keras_lodin.data.source import Source
from keras_lodin.data.sources.arrays import array_source

_NATURAL_SHAPE = (8, 8, 1)
_LARGEST_VALUE = 16.0
# The parts are the same in every run, whatever its seed: nothing tested was ever trained on.
_SPLIT_SEED = 0


def load_digits(
    name: str,
    classes: tuple[int, ...],
    *,
    part: str,
    image_shape: tuple[int | None, ...] | None,
    input_range: tuple[float, float],
) -> Source:
    """Loads some of the ten digits: 1,797 grey images of 8x8 pixels, values 0..16.

    Args:
        name: The specification.
        classes: The digits wanted, ascending. Their labels are 0 .. len(classes) - 1.
        part: `"train"` (60 % of every class), `"calibration"` (20 %), `"test"` (20 %) or `"all"`.
        image_shape: Shape of one example, or `None` for (8, 8, 1).
        input_range: Where the values 0 and 16 go.

    Returns:
        A labelled `Source`.
    """
    # scikit-learn is imported where it is needed, so that importing the package stays fast.
    from sklearn.datasets import load_digits as load_all

    images, digits = load_all(return_X_y=True)
    chosen = _part_indices(digits, part)
    chosen = chosen[np.isin(digits[chosen], classes)]
    shapes = resolve_shapes(name, _NATURAL_SHAPE, image_shape)
    return array_source(
        name,
        images[chosen].reshape(-1, *_NATURAL_SHAPE).astype("float32"),
        np.searchsorted(classes, digits[chosen]),
        pixel_transform(shapes, input_range, _LARGEST_VALUE),
        shape=shapes[1],
        input_range=input_range,
        class_names=tuple(map(str, classes)),
    )


def _part_indices(digits: np.ndarray, part: str) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    everything = np.arange(len(digits))
    if part == "all":
        return everything
    train, rest = train_test_split(
        everything, train_size=0.6, stratify=digits, random_state=_SPLIT_SEED
    )
    calibration, test = train_test_split(
        rest, train_size=0.5, stratify=digits[rest], random_state=_SPLIT_SEED
    )
    return {"train": train, "calibration": calibration, "test": test}[part]
