"""Images and labels: from TFDS files to one file of JPEG bytes, and from there to pixels.

The JPEG bytes of all sets are 25 MB where their pixels are 245 MB. Pillow decodes them;
TensorFlow's decoder gives other pixels, by about a grey level.
"""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import struct
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from scale import product

files = product.load("utils.files")

TRAIN, TEST = "train", "test"
# The name of a set -> the TFDS data set and its split.
SETS = {
    TRAIN: ("cifar10_jpeg75", "train"),
    TEST: ("cifar10_jpeg75", "test"),
    "tiny_imagenet": ("tiny_imagenet_jpeg75", "test"),
    "dtd": ("dtd10_jpeg75", "test"),
    "mnist": ("mnist_jpeg75", "test"),
    "fashion_mnist": ("fashion_mnist_jpeg75", "test"),
}
OOD = tuple(name for name in SETS if name not in (TRAIN, TEST))

_ENOUGH = 2000  # images that are worth the start of a process


def pack(tfds: Path, path: Path) -> None:
    """Writes the JPEG bytes and labels of all sets to one `.npz` file.

    Args:
        tfds: folder of TFDS, with the prepared data sets of `SETS`.
        path: the file to write.

    Raises:
        FileNotFoundError: if a data set is not there.
    """
    arrays = {}
    for name, (dataset, split) in SETS.items():
        shards = sorted(tfds.glob(f"{dataset}/*/{dataset}-{split}.tfrecord*"))
        if not shards:
            raise FileNotFoundError(
                f"Expected the TFDS data set {dataset} (split {split}). Received: tfds={tfds}"
            )
        rows = [_example(record) for shard in shards for record in _records(shard)]
        jpegs = [row["image"] for row in rows]
        arrays[f"{name}/bytes"] = np.frombuffer(b"".join(jpegs), "uint8")
        arrays[f"{name}/ends"] = np.cumsum([len(jpeg) for jpeg in jpegs])
        arrays[f"{name}/labels"] = np.array([row["label"] for row in rows], "int32")
    with files.atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def load(path: Path, limit: int | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The images and labels of all sets, by the names of `SETS`.

    Args:
        path: what `pack` wrote.
        limit: how many images of each set, from the first; None for all.

    Returns:
        uint8 arrays of shape `(count, 32, 32, 3)` and int32 arrays of shape `(count,)`.
    """
    jpegs, labels = [], {}
    with np.load(path) as arrays:
        for name in SETS:
            labels[name] = arrays[f"{name}/labels"][:limit]
            data = arrays[f"{name}/bytes"].tobytes()
            ends = [0, *arrays[f"{name}/ends"][: len(labels[name])]]
            jpegs += [data[first:last] for first, last in itertools.pairwise(ends)]
    edges = np.cumsum([0, *(len(own) for own in labels.values())])
    images = _decoded_by_many(jpegs)
    parts = [images[first:last] for first, last in itertools.pairwise(edges)]
    return dict(zip(labels, zip(parts, labels.values(), strict=True), strict=True))


def _decoded_by_many(jpegs: list[bytes]) -> np.ndarray:
    workers = min(os.cpu_count() or 1, len(jpegs) // _ENOUGH)
    if workers < 2:
        return _decoded(jpegs)
    # Processes, as Pillow holds the interpreter for most of so small an image; and new ones, as
    # one that PyTorch has started threads in must not be forked.
    parts = [jpegs[place : place + _ENOUGH] for place in range(0, len(jpegs), _ENOUGH)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return np.concatenate(list(pool.map(_decoded, parts)))


def _decoded(jpegs: list[bytes]) -> np.ndarray:
    from PIL import Image

    return np.stack([np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in jpegs])


def _records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: a length of 8 bytes, its checksum, the bytes, theirs."""
    with open(path, "rb") as file:
        while header := file.read(12):
            yield file.read(struct.unpack("<Q", header[:8])[0])
            file.read(4)


def _example(record: bytes) -> dict[str, bytes | int]:
    """Name -> first value of a serialized `tf.train.Example` of bytes and integers."""
    (features,) = (value for _, value in _fields(record))
    found = {}
    for _, entry in _fields(features):
        parts = dict(_fields(entry))
        ((kind, values),) = _fields(parts[2])
        value = next(value for _, value in _fields(values))
        # A list of integers is a row of bare varints; read the first as if it had a field number.
        is_bytes = kind == 1
        name = parts[1].decode()
        found[name] = value if is_bytes else next(v for _, v in _fields(b"\x08" + value))
    return found


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """`(field number, value)` of a protocol buffer message: integers, or bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = varint()
            yield key >> 3, message[place : place + size]
            place += size
