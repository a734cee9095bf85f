"""From what is to be scored to shards of it."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

from keras_lodin.data.encoded_images import decode_image
from keras_lodin.data.named_source import NamedSource
from keras_lodin.data.shards.image_file_shard import ImageFileShard, pack
from keras_lodin.data.shards.parquet_shard import is_parquet, parquet_shards
from keras_lodin.data.shards.shard import EncodedShard, PlanSummary, Shard
from keras_lodin.data.shards.source_shard import source_shards
from keras_lodin.data.shards.stored_shard import StoredShard
from keras_lodin.data.shards.tfrecord_shard import is_tfrecord, tfrecord_shards
from keras_lodin.data.sources import SOURCES
from keras_lodin.data.sources.folder import Folder, is_hidden, is_image, visible_files
from keras_lodin.data.specification import parse
from keras_lodin.data.unreadable_image_error import UnreadableImageError
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.numbers import check_whole

SHARD_SIZE = 10_000
# Names have so many digits, or more where there are more shards.
_DIGITS = 5
# A shell makes a hundred thousand names of a pattern; the digest tells the rest.
_INPUTS_SHOWN = 20


def plan(
    inputs: Iterable[str | os.PathLike[str]],
    shard_size: int = SHARD_SIZE,
    *,
    image_column: str | None = None,
    key_column: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> list[Shard]:
    """Divides what is to be scored into shards, which any number of processes can work on.

    Equal inputs give equal shards. No image is decoded but the first, and of files with many images
    no more is read than how many there are.

    Args:
        inputs: image files; folders, whose images, TFRecord and Parquet files at any depth are
            meant; TFRecord files (named `*.tfrecord`, `*.tfrecords`, with `-00000-of-00010` behind
            it or `.gz`) of `tf.train.Example`; Parquet files (`*.parquet`, `*.pq`); and data by
            name, such as `dir:PATH[:50%]`, `npz:PATH` and `tfds:NAME:SPLIT`. What is in two of the
            folders and files is taken once.
        shard_size: images in a shard at most.
        image_column: the column, or the feature of the records, with the encoded images (PNG, JPEG,
            BMP or GIF files as bytes). By default the only one that holds such bytes, or one called
            `image`, `image/encoded`, `encoded` and the like.
        key_column: what names them in the results. By default one called `key`, `filename`, `id`
            and the like; without, the file and the number of the row.
        data_dir: folder of the TensorFlow datasets, or of OpenOOD's data.

    Returns:
        the shards, in the order of the inputs. Of a million image files they take some megabytes.

    Raises:
        ValueError: if there is nothing to score, a file with many images is damaged, or a column
            is named where no file has columns.
        FileNotFoundError: if there is nothing at one of the paths.
        TypeError: if `inputs` is no list of paths and names.

    Example:
    ```python
    shards = keras_lodin.plan(["photos", "archive-00000-of-00010.tfrecord"])
    for shard in shards:
        keras_lodin.score_shard("detector.onnx", shard, "scores")
    ```
    """
    check_whole("shard_size", shard_size, "a whole number above 0")
    if isinstance(inputs, (str, os.PathLike)) or not isinstance(inputs, Iterable):
        raise TypeError(f"`inputs` must be a list of paths and names. Received: inputs={inputs!r}")
    given = [str(checked_path("inputs", one)) for one in inputs]
    if not given:
        raise ValueError(f"Expected one or more paths or names. Received: inputs={given!r}")

    def of_file(path: str) -> Iterator[Shard]:
        make = tfrecord_shards if is_tfrecord(path) else parquet_shards
        return make(path, shard_size, image_column, key_column)

    def of_name(name: str) -> Iterator[Shard]:
        return source_shards(name, shard_size, data_dir)

    shards = [*_shards(given, shard_size, of_file, of_name)]
    if not shards:
        raise ValueError(f"There is nothing to score. Received: inputs={given}")
    columns = {"image_column": image_column, "key_column": key_column}
    unused = {name: value for name, value in columns.items() if value is not None}
    if unused and not any(isinstance(shard, StoredShard) for shard in shards):
        raise ValueError(
            "Columns are those of TFRecord and Parquet files, and none is among the inputs: leave "
            "out `image_column` (--image-column) and `key_column` (--key-column). "
            f"Received: {', '.join(f'{name}={value!r}' for name, value in unused.items())}, "
            f"inputs={given[:_INPUTS_SHOWN]}"
        )
    natural = next(filter(None, map(_natural_shape, shards)), None)
    shown = tuple(given[:_INPUTS_SHOWN])
    if len(given) > len(shown):
        shown = (*shown, f"and {len(given) - len(shown):,} more")
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(json.dumps(shard.identity()).encode())
    images = sum(shard.count for shard in shards)
    summary = PlanSummary(shown, shard_size, len(shards), images, digest.hexdigest())
    digits = max(_DIGITS, len(str(len(shards) - 1)))
    return [
        replace(shard, name=f"{number:0{digits}}", plan=summary, natural_shape=natural)
        for number, shard in enumerate(shards)
    ]


def input_folders(inputs: Iterable[str]) -> list[str]:
    """The folders among inputs, which results must stay out of."""
    named = (one if os.path.exists(one) else _named(one).folder for one in inputs)
    return [one for one in named if one is not None and os.path.isdir(one)]


def _shards(
    inputs: list[str],
    shard_size: int,
    of_file: Callable[[str], Iterator[Shard]],
    of_name: Callable[[str], Iterator[Shard]],
) -> Iterator[Shard]:
    """Shards without names: image files that follow each other share them, whatever the input."""
    images: list[str] = []

    def packed(least: int) -> Iterator[Shard]:
        while len(images) >= max(least, 1):
            chosen = images[:shard_size]
            del images[:shard_size]
            yield ImageFileShard(len(chosen), pack(chosen))

    for kind, name in _parts(inputs):
        if kind is _IMAGE:
            images.append(name)
            yield from packed(shard_size)
        else:
            yield from packed(1)
            yield from (of_file if kind is _RECORDS else of_name)(name)
    yield from packed(1)


_IMAGE, _RECORDS, _NAME = "image", "records", "name"


def _parts(inputs: list[str]) -> Iterator[tuple[str, str]]:
    """Every image file, file of records, and name of data, each once."""
    folders = {os.path.realpath(one) for one in inputs if os.path.isdir(one)}
    seen: set[str] = set()
    for one in inputs:
        if os.path.isdir(one):
            place = os.path.realpath(one)
            if place in seen or _within(place, folders):
                continue
            seen.add(place)
            found = _of_folder(one)
            first = next(found, None)
            if first is None:
                raise FileNotFoundError(
                    "There are no images (PNG, JPEG, BMP or GIF), TFRecord or Parquet files in the "
                    f"folder. Received: {one!r}"
                )
            yield from chain((first,), found)
        elif os.path.isfile(one):
            # Not of what a link points to: the folder that it is in has it by its own name.
            place = os.path.join(os.path.realpath(os.path.dirname(one)), os.path.basename(one))
            kind = _kind(one)
            listed = _within(place, folders) and (kind is _RECORDS or is_image(one))
            if place not in seen and not listed:
                seen.add(place)
                yield kind, one
        elif os.path.exists(one):
            raise ValueError(f"It is no file and no folder. Received: {one!r}")
        elif one not in seen:
            seen.add(one)
            yield from _of_name(one)


def _of_folder(folder: str) -> Iterator[tuple[str, str]]:
    for path in visible_files(folder):
        kind = _kind(path)
        if kind is _RECORDS or is_image(path):
            yield kind, path


def _of_name(name: str) -> Iterator[tuple[str, str]]:
    source = _named(name)
    if isinstance(source, Folder):
        yield from ((_IMAGE, path) for path in source.chosen(name))
    else:
        yield _NAME, name


def _named(name: str) -> NamedSource:
    """The data that an input is the name of, where there is no file and no folder."""
    if ":" not in name and name not in SOURCES:
        pattern = " Name files, not a pattern." if glob.has_magic(name) else ""
        raise FileNotFoundError(
            f"There is no such image, file or folder.{pattern} Received: {name!r}"
        )
    return parse(name)


def _kind(path: str) -> str:
    return _RECORDS if is_tfrecord(path) or is_parquet(path) else _IMAGE


def _within(place: str, folders: set[str]) -> bool:
    """Whether a file or folder is found by going through one of the folders."""
    hidden, above = is_hidden(os.path.basename(place)), os.path.dirname(place)
    while folders and not hidden and above != place:
        if above in folders:
            return True
        place, hidden, above = above, is_hidden(os.path.basename(above)), os.path.dirname(above)
    return False


def _natural_shape(shard: Shard) -> tuple[int, int, int] | None:
    """Of the first image of a shard that can be read."""
    if not isinstance(shard, EncodedShard):
        return None
    for _, encoded in islice(shard.records(), shard.count):
        if isinstance(encoded, bytes):
            try:
                height, width, stored = decode_image(encoded).shape
                return int(height), int(width), 1 if stored < 3 else 3
            except UnreadableImageError:
                continue
    return None
