"""TFRecord files of `tf.train.Example`, read by TensorFlow on every backend of Keras."""

from __future__ import annotations

import os
from collections.abc import Iterator

import tensorflow as tf

_BUFFER_BYTES = 2**20
_AT_ONCE = 32
_GZIP = b"\x1f\x8b"


def stored_examples(path: str, first: int, offset: int, count: int) -> Iterator[tf.train.Example]:
    """Some of the examples of a file.

    Args:
        path: of the file, compressed by gzip or not.
        first: the number of the first example.
        offset: where it begins, in bytes; not read in a compressed file.
        count: how many.

    Raises:
        ValueError: if the file is damaged.
        OSError: if it cannot be read.
    """
    compressed = is_compressed(path)
    # The public class of the same cannot begin amid a file.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path],
        compression_type="GZIP" if compressed else "",
        buffer_size=_BUFFER_BYTES,
        byte_offsets=[0 if compressed else offset],
    )
    records = tf.data.experimental.from_variant(variant, tf.TensorSpec((), tf.string))
    records = records.skip(first if compressed else 0).take(count).batch(_AT_ONCE)
    # What optimises a data set writes it down and reads it again, and forgets the offset.
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    try:
        for batch in records.with_options(options).as_numpy_iterator():
            yield from map(tf.train.Example.FromString, batch)
    except tf.errors.OpError as error:
        raise damaged(path, error.message) from None
    # The class of protobuf's errors is not public.
    except Exception as error:
        if type(error).__name__ == "DecodeError":
            raise damaged(path, "a record is no tf.train.Example") from None
        raise


def starts(path: str, every: int) -> tuple[int, list[int]]:
    """How many records there are, and where each `every`-th of them begins, in bytes.

    Of a file that is not compressed no more is read than the lengths of the records.

    Raises:
        ValueError: if the file ends amid a record, or holds no records.
        OSError: if it cannot be read.
    """
    if is_compressed(path):
        try:
            count = int(
                tf.data.TFRecordDataset(path, "GZIP").reduce(tf.constant(0, tf.int64), _one_more)
            )
        except tf.errors.OpError as error:
            raise damaged(path, error.message) from None
        return count, [0] * -(-count // every)
    size, place, count, found = os.path.getsize(path), 0, 0, []
    with open(path, "rb") as file:
        while place < size:
            if count % every == 0:
                found.append(place)
            file.seek(place)
            # Length and its checksum, the record, and its checksum.
            place += 16 + int.from_bytes(file.read(8), "little")
            count += 1
    if place != size:
        raise damaged(path, f"{size:,} bytes, where record {count} would end at {place:,}")
    return count, found


def is_compressed(path: str) -> bool:
    """Whether a file is compressed by gzip: told by how it begins."""
    with open(path, "rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def damaged(path: str, reason: str) -> ValueError:
    """The error of a file that is no TFRecord file, or not all of one."""
    return ValueError(
        "Expected a whole TFRecord file of tf.train.Example records; write or copy it again. "
        f"Received: path={path!r}, {reason}"
    )


def _one_more(count: tf.Tensor, record: tf.Tensor) -> tf.Tensor:
    return count + 1
