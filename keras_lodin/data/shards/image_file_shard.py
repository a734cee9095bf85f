"""Image files, each of which is an image."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from keras_lodin.data.encoded_images import read_image_file
from keras_lodin.data.shards.shard import EncodedShard
from keras_lodin.data.unreadable_image_error import UnreadableImageError

# Disks across a network take longer to answer than to send: files are asked for beforehand.
_THREADS = 4
_AT_ONCE = 32
_SEPARATOR = b"\0"


@dataclass(frozen=True)
class ImageFileShard(EncodedShard):
    """The images of files.

    Attributes:
        packed: the paths, as `pack` makes it: of a million files some megabytes.
    """

    packed: bytes = field(repr=False)

    @property
    def label(self) -> str:
        """The first and the last file."""
        paths = self.paths()
        return paths[0] if len(paths) == 1 else f"{paths[0]} ... {paths[-1]}"

    def paths(self) -> list[str]:
        """The paths as they were given."""
        return [os.fsdecode(path) for path in zlib.decompress(self.packed).split(_SEPARATOR)]

    def identity(self) -> tuple[object, ...]:
        """Paths and sizes."""
        paths = self.paths()
        return *paths, *(os.path.getsize(os.path.join(self.folder, path)) for path in paths)

    def records(self) -> Iterator[tuple[str, bytes | UnreadableImageError]]:
        """The path and the content of each file."""
        paths = iter(self.paths())
        with ThreadPoolExecutor(_THREADS) as pool:
            while chunk := list(islice(paths, _AT_ONCE)):
                yield from zip(chunk, pool.map(self._read, chunk), strict=True)

    def _read(self, path: str) -> bytes | UnreadableImageError:
        try:
            return read_image_file(os.path.join(self.folder, path))
        except UnreadableImageError as error:
            return error


def pack(paths: Sequence[str]) -> bytes:
    """Paths in little memory."""
    return zlib.compress(_SEPARATOR.join(map(os.fsencode, paths)))
