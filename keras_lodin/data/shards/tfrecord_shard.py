"""Images in TFRecord files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras_lodin.data.encoded_images import checked_image
from keras_lodin.data.shards.columns import image_column, key_column
from keras_lodin.data.shards.stored_shard import StoredShard
from keras_lodin.data.sources.folder import is_image_content
from keras_lodin.data.unreadable_image_error import UnreadableImageError
from keras_lodin.utils.needed_packages import imported_for

_NAMES = re.compile(r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?$")


@dataclass(frozen=True)
class TFRecordShard(StoredShard):
    """Some of the records of a TFRecord file of `tf.train.Example`, by their features.

    Attributes:
        offset: where the first one begins, in bytes.
    """

    offset: int

    def records(self) -> Iterator[tuple[str, bytes | UnreadableImageError]]:
        """The key and the bytes of each record."""
        examples = _tfrecords().stored_examples(self.place, self.first, self.offset, self.count)
        for number, example in enumerate(examples, self.first):
            features = example.features.feature
            key = None if self.key is None else _text(features[self.key])
            images = features[self.image].bytes_list.value
            record: bytes | UnreadableImageError
            try:
                if not images:
                    raise UnreadableImageError(f"the record has no bytes in {self.image!r}")
                record = checked_image(images[0])
            except UnreadableImageError as error:
                record = error
            yield key or f"{self.path}#{number}", record


def is_tfrecord(path: str) -> bool:
    """Whether a file is called as TFRecord files are."""
    return _NAMES.search(os.path.basename(path)) is not None


def tfrecord_shards(
    path: str, shard_size: int, image: str | None, key: str | None
) -> Iterator[TFRecordShard]:
    """The shards of a TFRecord file.

    Raises:
        ValueError: if it is damaged, or it is unclear where the images are.
        OSError: if it cannot be read.
    """
    tfrecords = _tfrecords()
    count, offsets = tfrecords.starts(path, shard_size)
    if not count:
        return
    example = next(tfrecords.stored_examples(path, 0, 0, 1))
    features = {name: one.bytes_list.value for name, one in example.features.feature.items()}
    stored = {name for name, values in features.items() if len(values) == 1}
    # By content, as texts are bytes too; by name where the first image is damaged.
    images = {name for name in stored if is_image_content(features[name][0])}
    image = image_column(image, images if image is None and images else stored, features, path)
    key = key_column(key, features, path)
    for number, offset in enumerate(offsets):
        first = number * shard_size
        yield TFRecordShard(min(shard_size, count - first), path, first, image, key, offset)


def _text(feature: Any) -> str:
    """The first value of a feature as text; empty without."""
    values = feature.bytes_list.value or feature.int64_list.value
    if not values:
        return ""
    first = values[0]
    return os.fsdecode(first) if isinstance(first, bytes) else str(first)


def _tfrecords() -> Any:
    with imported_for("Reading TFRecord files"):
        from keras_lodin.data.readers import tfrecords

    return tfrecords
