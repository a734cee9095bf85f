"""`photos`: square patches of the two photographs that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_lodin.data import readers
from keras_lodin.data.named_source import SOURCES, NamedSource, Request
from keras_lodin.data.pipeline import pixel_transform, resolve_shapes
from keras_lodin.data.source import Source
from keras_lodin.data.sources.arrays import array_source
from keras_lodin.data.sources.counts import parse_count
from keras_lodin.utils.tensor import Tensor

_NATURAL_SHAPE = (64, 64, 3)
# The photographs are 427x640. Larger patches would leave too few different ones in a third of
# their width.
_LARGEST_PATCH = 192
# The thirds of the photographs' width that belong to the parts: no pixel is in two of them.
_BANDS = {"train": (0, 213), "calibration": (213, 426), "test": (426, 640), "all": (0, 640)}


@SOURCES.register(
    "photos",
    description="photos[:COUNT]: patches of scikit-learn's two photographs; photos:500",
    position=2,
)
@dataclass(frozen=True)
class Photos(NamedSource):
    """Patches of 64 pixels, or of the wanted size if larger (192 at most), then resized.

    The parts "train", "calibration" and "test" take disjoint thirds of the photographs, "all" the
    whole. Without an `image_shape` examples are of shape (64, 64, 3).

    Args:
        count: How many patches; all of them are different.
    """

    count: int

    @classmethod
    def parse(cls, argument: str) -> Photos:
        """How many."""
        return cls(parse_count(argument))

    def overlaps(self, other: Photos, whole: bool) -> bool:
        """Always: fewer are a part of more."""
        return True

    def load(self, request: Request) -> Source:
        """An unlabelled `Source`.

        Raises:
            ValueError: If there are not as many different patches.
        """
        from sklearn.datasets import load_sample_images

        photos = np.stack(load_sample_images().images)
        shapes = resolve_shapes(request.name, _NATURAL_SHAPE, request.image_shape)
        size = min(max(*_NATURAL_SHAPE[:2], *shapes[0][:2]), _LARGEST_PATCH)
        left, right = _BANDS[request.part]
        places = (len(photos), photos.shape[1] - size + 1, right - left - size + 1)
        if self.count > np.prod(places):
            raise ValueError(
                f"There are {np.prod(places)} different patches of {size} pixels in part "
                f"{request.part!r} of the photographs. Ask for at most so many. "
                f"Received: {request.name!r}"
            )
        chosen = np.random.default_rng(request.seed).choice(
            np.prod(places), self.count, replace=False
        )
        photo, top, column = np.unravel_index(chosen, places)
        corners = np.stack([photo, top, left + column, np.zeros_like(photo)], axis=1)

        reader = readers.READER
        transform = pixel_transform(reader, shapes, request.input_range)
        stored = reader.stored(photos)

        def patch(corner: Tensor) -> Tensor:
            return transform(reader.cut(stored, corner, (1, size, size, 3))[0])

        return array_source(
            *(request.name, corners, None, patch),
            shape=shapes[1],
            input_range=request.input_range,
        )
