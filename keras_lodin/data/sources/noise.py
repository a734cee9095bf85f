"""`noise`: independent random values, the crudest out-of-distribution inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_lodin.data import readers
from keras_lodin.data.named_source import SOURCES, NamedSource, Request
from keras_lodin.data.source import Source
from keras_lodin.data.sources.arrays import array_source
from keras_lodin.data.sources.counts import parse_count
from keras_lodin.utils.tensor import Tensor

_DISTRIBUTIONS = ("uniform", "gaussian")

# Parts are different draws.
_PART_NUMBERS = {"train": 0, "calibration": 1, "test": 2, "all": 3}


@SOURCES.register(
    "noise",
    description="noise:uniform[:COUNT] or noise:gaussian[:COUNT]: independent random values",
    position=6,
)
@dataclass(frozen=True)
class Noise(NamedSource):
    """Noise: uniform over the range, or gaussian around its middle. Parts are different draws.

    Args:
        distribution: `"uniform"`; or `"gaussian"`, whose standard deviation is a quarter of the
            range, clipped to the range (4.6 % of the values end at its ends).
        count: How many examples.
    """

    distribution: str
    count: int

    @classmethod
    def parse(cls, argument: str) -> Noise:
        """The distribution, and how many."""
        distribution, _, count = argument.partition(":")
        if distribution not in _DISTRIBUTIONS:
            raise ValueError(
                f"{distribution!r} is not a kind of noise: there are {', '.join(_DISTRIBUTIONS)}."
            )
        return cls(distribution, parse_count(count))

    def overlaps(self, other: Noise, whole: bool) -> bool:
        """Whether the distribution is the same: fewer are the first of more."""
        return self.distribution == other.distribution

    def load(self, request: Request) -> Source:
        """An unlabelled `Source` of examples of any rank, in a range that may be of each feature.

        Raises:
            ValueError: If `image_shape` does not settle the shape.
        """
        shape = tuple(size for size in request.image_shape or () if size is not None)
        if request.image_shape is None or len(shape) < len(request.image_shape):
            raise ValueError(
                f"Noise has neither labels nor a shape of its own: {request.name!r} needs "
                "`image_shape`, that of a classifier's inputs such as (32, 32, 3), with every "
                "dimension known. "
                f"Received: image_shape={request.image_shape}"
            )
        low, high = request.input_range
        reader = readers.READER
        seed_of_part = reader.pair(request.seed, _PART_NUMBERS[request.part])

        def draw(index: Tensor) -> Tensor:
            seed = reader.fold_in(seed_of_part, index)
            if self.distribution == "uniform":
                return reader.uniform(shape, seed, low, high)
            values = reader.normal(shape, seed, (low + high) / 2, (high - low) / 4)
            return reader.clipped(values, low, high)

        name, indices = request.name, np.arange(self.count)
        return array_source(name, indices, None, draw, shape=shape, input_range=request.input_range)
