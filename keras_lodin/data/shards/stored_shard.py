"""A shard of images that one file holds many of."""

from __future__ import annotations

import os
from dataclasses import dataclass

from keras_lodin.data.shards.shard import EncodedShard


@dataclass(frozen=True)
class StoredShard(EncodedShard):
    """Neighbours among the images of one file.

    Attributes:
        path: of the file.
        first: the number of the first one.
        image: the name under which the file has the bytes of an image.
        key: the name of what names it, or None.
    """

    path: str
    first: int
    image: str
    key: str | None

    @property
    def place(self) -> str:
        """Where the file is, whatever the working folder is now."""
        return os.path.join(self.folder, self.path)

    @property
    def label(self) -> str:
        """The file and the numbers."""
        return f"{self.path}#{self.first}-{self.first + self.count - 1}"

    def identity(self) -> tuple[object, ...]:
        """The file, its size, and the numbers."""
        size = os.path.getsize(self.place)
        return self.path, size, self.first, self.count, self.image, self.key
