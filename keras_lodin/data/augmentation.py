"""Random changes to training images, each a pure function of an image and what is drawn for it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np

from keras_lodin.utils.tensor import Tensor

_CROP_PADDING = 4


class Augmentation(NamedTuple):
    """A way to change images, in the words of a reader (`keras_lodin.data.readers`).

    Attributes:
        draw: function from a reader and a seed to what is drawn of it. Equal seeds give equal
            draws.
        change: function from a reader, an image of shape (height, width, channels), what was drawn
            and the value of black to an image of the same shape.
    """

    draw: Callable[[ModuleType, Tensor], tuple[Tensor, ...]]
    change: Callable[[ModuleType, Tensor, tuple[Tensor, ...], float | np.ndarray], Tensor]


def draw_crop_and_flip(reader: ModuleType, seed: Tensor) -> tuple[Tensor, ...]:
    """Where an image begins in the one with margins, (0 to 8, 0 to 8, 0); and if it is mirrored."""
    crop_seed, flip_seed = reader.split(seed)
    places = 2 * _CROP_PADDING + 1
    corner = reader.integers(3, crop_seed) % [places, places, 1]
    return corner, reader.uniform((), flip_seed) < 0.5


def crop_and_flip(
    reader: ModuleType, image: Tensor, drawn: tuple[Tensor, ...], fill: float | np.ndarray
) -> Tensor:
    """The usual recipe for CIFAR: a shift of up to 4 pixels, and a mirror image half of the time.

    The pixels that come in at the border are black.
    """
    corner, is_mirrored = drawn
    margin = [_CROP_PADDING, _CROP_PADDING]
    padded = reader.pad(image, [margin, margin, [0, 0]], constant_values=fill)
    cropped = reader.cut(padded, corner, image.shape)
    return reader.either(is_mirrored, cropped[:, ::-1], cropped)


AUGMENTATIONS = {"crop-flip": Augmentation(draw_crop_and_flip, crop_and_flip)}
