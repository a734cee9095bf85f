"""Reading by tf.data, in graphs: see `keras_lodin.data.readers`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from keras_lodin.utils.tensor import Tensor

Dataset = tf.data.Dataset

# How many batches are made before they are asked for. `AUTOTUNE` takes more where data are slow.
_AHEAD = 2

clipped = tf.clip_by_value
colour = tf.image.grayscale_to_rgb
cut = tf.slice
grey = tf.image.rgb_to_grayscale
pad = tf.pad
reshape = tf.reshape
fold_in = tf.random.fold_in
uniform = tf.random.stateless_uniform
normal = tf.random.stateless_normal


def mapped(dataset: tf.data.Dataset, function: Callable[..., object]) -> tf.data.Dataset:
    """A function of each element, of several at a time."""
    return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE)


def prefetched(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same elements, made before they are asked for."""
    return dataset.prefetch(_AHEAD)


def with_length(dataset: tf.data.Dataset, length: int) -> tf.data.Dataset:
    """The same elements, of which it is known how many there are."""
    return dataset.apply(tf.data.experimental.assert_cardinality(length))


def permuted(columns: tuple[tf.Tensor, ...], seed: tf.Tensor) -> tf.data.Dataset:
    """Rows of columns in a random order. `Dataset.shuffle` would mix the global seed in."""
    places = tf.range(tf.shape(columns[0])[0])
    order = tf.random.experimental.stateless_shuffle(places, seed)
    return tf.data.Dataset.from_tensor_slices(tuple(tf.gather(one, order) for one in columns))


def read_files(
    records: tf.data.Dataset,
    read: Callable[[bytes], Tensor | None],
    channels: int,
    transform: Callable[[Tensor], Tensor],
) -> tf.data.Dataset:
    """Examples out of files, without those that cannot be read.

    Args:
        records: of a path, bytes, and what is kept beside it.
        read: function from a path to an image, float32 of shape (height, width, channels), or None.
        channels: how many there are in every image.
        transform: function from an image to an example.
    """

    def read_or_nothing(path: tf.Tensor) -> tf.Tensor:
        pixels = read(path.numpy())
        return tf.zeros((0, 0, channels)) if pixels is None else pixels

    def read_one(path: tf.Tensor, *label: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # In Python, because a graph can tell neither which file failed nor why.
        pixels = tf.py_function(read_or_nothing, [path], tf.float32)
        return (tf.ensure_shape(pixels, (None, None, channels)), *label)

    readable = mapped(records, read_one).filter(lambda pixels, *label: tf.size(pixels) > 0)
    return mapped(readable, lambda pixels, *label: (transform(pixels), *label))


def decoded_batches(
    chunks: Callable[[], Iterator[list[tuple[int, bytes]]]],
    channels: int,
    transform: Callable[[Tensor], Tensor],
    batch_size: int,
) -> tf.data.Dataset:
    """Batches of examples with their numbers, in order, without those that cannot be decoded.

    Args:
        chunks: function that starts a pass: numbers and the bytes of image files, some at a time.
        channels: how many there are in every image, 1 or 3.
        transform: function from an image of so many, float32, to an example.
        batch_size: examples in a batch; the last one may be smaller.

    Returns:
        a `Dataset` of `(numbers, examples)`, int64 and float32, for any number of passes. Few
        batches are made before they are asked for, so that memory does not grow with time.
    """

    def arrays() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for chunk in chunks():
            encoded = np.empty(len(chunk), object)
            encoded[:] = [one for _, one in chunk]
            yield np.array([number for number, _ in chunk], "int64"), encoded

    def decode(number: tf.Tensor, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Not `channels=`: libjpeg and libpng round grey values in their own ways.
        pixels = tf.io.decode_image(encoded, expand_animations=False)
        pixels = tf.ensure_shape(_to_channels(pixels, channels), (None, None, channels))
        return number, transform(pixels)

    signature = (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.string))
    return (
        tf.data.Dataset.from_generator(arrays, output_signature=signature)
        .unbatch()
        .map(decode, num_parallel_calls=os.cpu_count())
        .ignore_errors()
        .batch(batch_size)
        .prefetch(_AHEAD)
    )


def _to_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    """`keras_lodin.data.pipeline.to_channels` where the graph does not know how many there are."""
    stored = tf.shape(pixels)[2]
    floats = tf.cast(pixels, tf.float32)
    if channels == 1:
        return tf.cond(stored < 3, lambda: floats[:, :, :1], lambda: grey(floats[:, :, :3]))
    return tf.cond(stored < 3, lambda: colour(floats[:, :, :1]), lambda: floats[:, :, :3])


def stored(values: np.ndarray) -> tf.Tensor:
    """An array in the memory of the host, where tf.data works: an accelerator's is the model's."""
    with tf.device("CPU"):
        return tf.constant(values)


def floats(pixels: Tensor) -> tf.Tensor:
    """As float32, in the range they had."""
    return tf.cast(pixels, tf.float32)


def resized(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """An image of another (height, width): bilinear, with antialiasing when it shrinks."""
    return tf.image.resize(image, size, antialias=True)


def decoded(encoded: bytes) -> tf.Tensor:
    """The pixels of a PNG, JPEG or BMP file or of a GIF's first frame.

    Returns:
        uint8 of shape (height, width, channels), 1 to 4 of them.

    Raises:
        ValueError: with the reason, if it is none or damaged.
    """
    try:
        return tf.io.decode_image(encoded, expand_animations=False)
    except tf.errors.OpError as error:
        # Without the names of graph nodes that TensorFlow puts around its messages.
        raise ValueError(re.sub(r"^\{\{.*?\}\} | \[Op:\w+\]$", "", error.message)) from None


def either(condition: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The one where a truth holds, the other where it does not."""
    # Not `tf.where`, with which an augmentation takes half as long again.
    return tf.cond(condition, lambda: one, lambda: other)


def pair(first: int | tf.Tensor, second: int | tf.Tensor) -> tf.Tensor:
    """Two numbers as a seed, int64."""
    return tf.stack([tf.cast(first, tf.int64), tf.cast(second, tf.int64)])


def split(seed: tf.Tensor) -> list[tf.Tensor]:
    """Two seeds out of one."""
    return tf.unstack(tf.random.split(seed, 2))


def integers(count: int, seed: tf.Tensor) -> tf.Tensor:
    """Random whole numbers from 0 to 2^31 - 2, int32, shape (count,)."""
    return tf.random.stateless_uniform((count,), seed, maxval=tf.int32.max, dtype=tf.int32)


def by_position(draw: Callable[[Tensor], tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """A function of the position of an example, out of one of positions."""
    return draw


def png_sizes(pixels: tf.Tensor) -> tf.Tensor:
    """Bytes of each image as a PNG file, see `keras_lodin.data.complexity`.

    Args:
        pixels: uint8 of shape (batch, height, width, channels).

    Returns:
        float32 of shape (batch,).
    """
    files = tf.io.encode_png(pixels, compression=9)
    return tf.cast(tf.strings.length(files), tf.float32)
