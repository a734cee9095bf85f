"""Images in a column of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_lodin.data.encoded_images import checked_image
from keras_lodin.data.shards.columns import image_column, key_column
from keras_lodin.data.shards.stored_shard import StoredShard
from keras_lodin.data.unreadable_image_error import UnreadableImageError
from keras_lodin.utils.parquet_file import parquet_file

_AT_ONCE = 32
# Where Hugging Face's data sets have the bytes, inside of the column.
_BYTES = "bytes"


class ParquetShard(StoredShard):
    """Some of the rows of a Parquet file, by the columns of images (binary) and of names."""

    def records(self) -> Iterator[tuple[str, bytes | UnreadableImageError]]:
        """The key and the bytes of each row."""
        with parquet_file(self.place) as file:
            columns = [self.image] if self.key is None else [self.image, self.key]
            groups, number = _groups_from(file, self.first)
            last = self.first + self.count
            for batch in file.iter_batches(_AT_ONCE, groups, columns):
                if number >= last:
                    break
                images = batch.column(self.image).to_pylist()
                keys = [None] * len(images) if self.key is None else batch.column(self.key)
                for image, key in zip(images, keys, strict=True):
                    if self.first <= number < last:
                        text = None if key is None else key.as_py()
                        name = f"{self.path}#{number}" if text is None else str(text)
                        yield name, _bytes_of(image)
                    number += 1


def is_parquet(path: str) -> bool:
    """Whether a file is called as Parquet files are."""
    return path.endswith((".parquet", ".pq"))


def parquet_shards(
    path: str, shard_size: int, image: str | None, key: str | None
) -> Iterator[ParquetShard]:
    """The shards of a Parquet file.

    Raises:
        ValueError: if it is damaged, or it is unclear where the images are.
        OSError: if it cannot be read.
    """
    with parquet_file(path) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
    from pyarrow import types  # Behind what says what to install.

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            place = kind.get_field_index(_BYTES)
            return place >= 0 and holds_bytes(kind.field(place).type)
        return types.is_binary(kind) or types.is_large_binary(kind)

    candidates = [field.name for field in schema if holds_bytes(field.type)]
    image = image_column(image, candidates, schema.names, path)
    key = key_column(key, [name for name in schema.names if name != image], path)
    for first in range(0, count, shard_size):
        yield ParquetShard(min(shard_size, count - first), path, first, image, key)


def _groups_from(file: Any, first: int) -> tuple[list[int], int]:
    """The groups of rows from the one that holds a row on, and the number of their first row."""
    metadata, number = file.metadata, 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if first < number + rows:
            return list(range(group, metadata.num_row_groups)), number
        number += rows
    return [], number


def _bytes_of(image: Any) -> bytes | UnreadableImageError:
    if isinstance(image, dict):
        image = image[_BYTES]
    try:
        if image is None:
            raise UnreadableImageError("there is no image in the row")
        return checked_image(image)
    except UnreadableImageError as error:
        return error
