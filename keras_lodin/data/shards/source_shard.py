"""Examples of data by name, such as `tfds:cifar10:test`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from keras_lodin.data.named_source import Request
from keras_lodin.data.shards.shard import Shard
from keras_lodin.data.source import Source
from keras_lodin.data.specification import parse
from keras_lodin.data.value_range import Bounds

# Of data whose part is not named, all.
_PART = "all"


@dataclass(frozen=True)
class SourceShard(Shard):
    """Some of the examples of a specification.

    Attributes:
        specification: in the language of `keras_lodin.data.load`.
        first: the number of the first example.
        data_dir: folder of the TensorFlow datasets, or of OpenOOD's data.
        digest: of its files, where it names any.
    """

    specification: str
    first: int
    data_dir: str | None
    digest: str | None = None

    @property
    def label(self) -> str:
        """The specification and the examples."""
        return f"{self.specification}#{self.first}-{self.first + self.count - 1}"

    def identity(self) -> tuple[object, ...]:
        """The specification, a digest of its files, and the examples."""
        return self.specification, self.digest, self.first, self.count

    def source(self, image_shape: tuple[int | None, ...] | None, input_range: Bounds) -> Source:
        """All of the data, of which the shard is an excerpt.

        Args:
            image_shape: that a classifier takes.
            input_range: of its inputs.
        """
        request = Request(
            self.specification, _PART, image_shape, input_range, self.data_dir, seed=0
        )
        return parse(self.specification).load(request)

    def key(self, number: int) -> str:
        """What the example of a number of the shard is called."""
        return f"{self.specification}#{self.first + number}"


def source_shards(
    specification: str, shard_size: int, data_dir: str | os.PathLike[str] | None
) -> Iterator[SourceShard]:
    """The shards of data by name.

    Raises:
        ValueError: if specification or data are not as they must be.
        OSError: if the data are not there.
    """
    folder = None if data_dir is None else os.fspath(data_dir)
    whole = SourceShard(0, specification, 0, folder)
    count = whole.source(None, (0.0, 1.0)).stored
    digest = parse(specification).digest()
    for first in range(0, count, shard_size):
        yield SourceShard(min(shard_size, count - first), specification, first, folder, digest)
