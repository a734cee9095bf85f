"""Reading by NumPy and Pillow, in Python: see `keras_lodin.data.readers`."""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from keras_lodin.data.readers.image_files import decoded as decoded
from keras_lodin.data.readers.image_files import png_size
from keras_lodin.data.readers.philox import fold_in as fold_in
from keras_lodin.data.readers.philox import integers as integers
from keras_lodin.data.readers.philox import normal as normal
from keras_lodin.data.readers.philox import permutation
from keras_lodin.data.readers.philox import split as split
from keras_lodin.data.readers.philox import uniform as uniform
from keras_lodin.data.readers.resizing import resized as resized
from keras_lodin.utils.tensor import Tensor
from keras_lodin.utils.threads import in_threads, made_ahead

if "keras" in sys.modules:
    from keras_lodin.utils.keras_internals import IterableData
else:  # Nobody trains or predicts: see `keras_lodin.data.readers`.
    IterableData = object  # type: ignore[assignment, misc]

clipped = np.clip
reshape = np.reshape

# How many examples' random numbers are drawn at once.
_AT_ONCE = 1024
# How many batches are made before they are asked for.
_AHEAD = 2
_MOST_THREADS = 8
# The luma of ITU-R BT.601, as TensorFlow rounds it.
_LUMA = np.array([0.2989, 0.5870, 0.1140], "float32")


class Dataset(IterableData):
    """Elements that can be gone through again and again, with what is used of `tf.data.Dataset`.

    An element is an array, or a tuple of arrays whose members are a function's arguments. Keras's
    `fit`, `evaluate` and `predict` take a data set of batches.

    Args:
        iterate: function that starts a pass: an iterator over the elements.
        length: how many there are; None where that is not known.
    """

    def __init__(self, iterate: Callable[[], Iterator[Any]], length: int | None = None) -> None:
        self._iterate = iterate
        self._length = length

    @staticmethod
    def from_tensor_slices(columns: tuple[np.ndarray, ...]) -> Dataset:
        """Of the rows of columns, tuples."""
        return _Rows(columns)

    @staticmethod
    def range(first: int, last: int) -> Dataset:
        """Of the numbers from `first` up to and without `last`."""
        return Dataset(lambda: iter(range(first, last)), last - first)

    def __iter__(self) -> Iterator[Any]:
        return self._iterate()

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError(
                "How many elements there are is known once `steps_per_epoch` has counted them. "
                f"Received: {self!r}"
            )
        return self._length

    def cardinality(self) -> int:
        """How many elements there are; -2 where that is not known."""
        return -2 if self._length is None else self._length

    @property
    def num_batches(self) -> int | None:
        """How many elements there are, as Keras asks for it; None where that is not known."""
        return self._length

    def map(self, function: Callable[..., Any]) -> Dataset:
        """A function of each element."""
        return Dataset(lambda: (_called(function, one) for one in self), self._length)

    def filter(self, function: Callable[..., Any]) -> Dataset:
        """The elements that a function holds for."""
        return Dataset(lambda: (one for one in self if _called(function, one)))

    def enumerate(self) -> Dataset:
        """Each element behind its number."""
        return Dataset(lambda: iter(enumerate(self)), self._length)

    def flat_map(self, function: Callable[..., Dataset]) -> Dataset:
        """The elements of each data set that a function makes of an element."""
        return Dataset(
            lambda: itertools.chain.from_iterable(_called(function, one) for one in self)
        )

    def batch(self, size: int) -> Dataset:
        """So many elements as one, stacked; the last batch may be smaller."""

        def batches() -> Iterator[Any]:
            elements = iter(self)
            while chosen := list(itertools.islice(elements, size)):
                if isinstance(chosen[0], tuple):
                    yield tuple(np.stack(column) for column in zip(*chosen, strict=True))
                else:
                    yield np.stack(chosen)

        return Dataset(batches, None if self._length is None else -(-self._length // size))

    def unbatch(self) -> Dataset:
        """The elements that batches are made of."""
        return self.flat_map(lambda *columns: _Rows(columns))

    def skip(self, count: int) -> Dataset:
        """The elements behind the first so many."""
        length = None if self._length is None else max(self._length - count, 0)
        return Dataset(lambda: itertools.islice(self, count, None), length)

    def take(self, count: int) -> Dataset:
        """The first elements, so many at most."""
        length = None if self._length is None else min(count, self._length)
        return Dataset(lambda: itertools.islice(self, count), length)


class _Rows(Dataset):
    """The rows of columns."""

    def __init__(self, columns: tuple[np.ndarray, ...]) -> None:
        super().__init__(lambda: zip(*columns, strict=True), len(columns[0]))
        self._columns = columns

    def batch(self, size: int) -> Dataset:
        """Slices of the columns, where stacking millions of numbers takes seconds."""
        starts = range(0, len(self), size)
        return Dataset(
            lambda: (tuple(one[start : start + size] for one in self._columns) for start in starts),
            len(starts),
        )


def _called(function: Callable[..., Any], element: Any) -> Any:
    return function(*element) if isinstance(element, tuple) else function(element)


def mapped(dataset: Dataset, function: Callable[..., Any]) -> Dataset:
    """A function of each element."""
    return dataset.map(function)


def prefetched(dataset: Dataset) -> Dataset:
    """The same elements, made in another thread before they are asked for."""
    return Dataset(lambda: made_ahead(dataset, _AHEAD), dataset.num_batches)


def with_length(dataset: Dataset, length: int) -> Dataset:
    """The same elements, of which it is known how many there are."""
    return Dataset(lambda: iter(dataset), length)


def permuted(columns: tuple[np.ndarray, ...], seed: np.ndarray) -> Dataset:
    """Rows of columns in a random order."""
    order = permutation(len(columns[0]), seed)
    return Dataset.from_tensor_slices(tuple(column[order] for column in columns))


def read_files(
    records: Dataset,
    read: Callable[[bytes], np.ndarray | None],
    channels: int,
    transform: Callable[[np.ndarray], np.ndarray],
) -> Dataset:
    """Examples out of files, without those that cannot be read; several are read at a time."""

    def read_one(record: tuple[Any, ...]) -> tuple[Any, ...] | None:
        path, *label = record
        pixels = read(path)
        return None if pixels is None else (transform(pixels), *label)

    def examples() -> Iterator[tuple[Any, ...]]:
        threads = min(os.cpu_count() or 1, _MOST_THREADS)
        with closing(in_threads(read_one, records, threads, 2 * threads)) as found:
            yield from (one for one in found if one is not None)

    return Dataset(examples)


def decoded_batches(
    chunks: Callable[[], Iterator[list[tuple[int, bytes]]]],
    channels: int,
    transform: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
) -> Dataset:
    """Batches of examples with their numbers, in order, without those that cannot be decoded.

    `transform` sees to the channels, however many an image has.
    """

    def decode(item: tuple[int, bytes]) -> tuple[np.int64, np.ndarray] | None:
        try:
            return np.int64(item[0]), transform(decoded(item[1]))
        except ValueError:
            return None

    def examples() -> Iterator[tuple[np.int64, np.ndarray]]:
        threads = min(os.cpu_count() or 1, _MOST_THREADS)
        items = itertools.chain.from_iterable(chunks())
        with closing(in_threads(decode, items, threads, 2 * threads)) as found:
            yield from (one for one in found if one is not None)

    return prefetched(Dataset(examples).batch(batch_size))


def stored(values: np.ndarray) -> np.ndarray:
    """The array itself."""
    return values


def floats(pixels: np.ndarray) -> np.ndarray:
    """As float32, in the range they had."""
    return pixels.astype("float32")


def grey(image: np.ndarray) -> np.ndarray:
    """The luma of an RGB image, float32."""
    return (image @ _LUMA)[..., None]


def colour(image: np.ndarray) -> np.ndarray:
    """A grey image with three equal channels."""
    return np.repeat(image, 3, axis=-1)


def pad(image: np.ndarray, margins: Sequence[Sequence[int]], constant_values: float) -> np.ndarray:
    """An image with a value around it, so often before and behind each axis.

    A fifth of the time that `np.pad` takes for a small image.
    """
    sizes = [sum(margin, size) for margin, size in zip(margins, image.shape, strict=True)]
    padded = np.full(sizes, constant_values, image.dtype)
    inside = zip(margins, image.shape, strict=True)
    padded[tuple(slice(before, before + size) for (before, _), size in inside)] = image
    return padded


def cut(values: np.ndarray, corner: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """A part of values, from a corner on."""
    places = zip(corner, sizes, strict=True)
    return values[tuple(slice(first, first + size) for first, size in places)]


def either(condition: bool, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The one where a truth holds, the other where it does not."""
    return one if condition else other


def pair(first: int, second: int) -> np.ndarray:
    """Two numbers as a seed, int64."""
    return np.array([first, second], "int64")


def by_position(
    draw: Callable[[np.ndarray], tuple[np.ndarray, ...]],
) -> Callable[[int], tuple[np.generic, ...]]:
    """A function of the position of an example, out of one of positions.

    As examples come in their order, the numbers of many are drawn at once, where one at a time
    takes fifty times as long.
    """
    block = functools.lru_cache(maxsize=1)(
        lambda number: draw(np.arange(number * _AT_ONCE, (number + 1) * _AT_ONCE))
    )

    def draw_one(position: int) -> tuple[np.generic, ...]:
        number, place = divmod(position, _AT_ONCE)
        return tuple(values[place] for values in block(number))

    return draw_one


def png_sizes(pixels: Tensor) -> Tensor:
    """Bytes of each image of a batch as a PNG file: float32 of shape (batch,)."""
    # Here, because this is for Keras's backend, and files are read without one too.
    from keras_lodin.gradients import backend

    return backend.host_function(lambda images: [png_size(one) for one in images], pixels)
