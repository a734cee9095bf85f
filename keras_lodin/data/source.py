"""The value that every named data source gives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from keras_lodin.data import readers
from keras_lodin.data.augmentation import AUGMENTATIONS, Augmentation
from keras_lodin.data.class_names import label_places
from keras_lodin.data.value_range import Bounds
from keras_lodin.utils.numbers import check_whole
from keras_lodin.utils.tensor import Tensor

# Of a reader: a `tf.data.Dataset`, or one of Python.
Dataset = Any


class Source:
    """Examples in a fixed order, with what is known about them.

    Get one from `keras_lodin.data.load`. Nothing is read before the batches are iterated over, and
    then no more than a few batches at a time (in memory: sources that are arrays to begin with).

    Args:
        name: The specification, e.g. `"digits:0-6"`.
        records: What is stored, a `Dataset` of the reader in a fixed order: indices, file names or
            encoded images. Shuffling works on records, so they should be small.
        decode: Function from a dataset of records to one of examples, `(x,)` or `(x, y)`, with x
            float32 of shape `shape` and y an int64 scalar.
        shape: Shape of one example.
        input_range: The smallest and the largest value that examples take.
        count: Number of examples, or `None` when only reading all of them can tell.
        labelled: Whether examples have labels, 0 .. number of classes - 1.
        class_names: Names of the classes in the order of the labels, where known.
        empty_classes: Those of them that are known to have no example.
        scaled: Whether stored values were brought to `input_range`; otherwise they are used as
            they are, and `input_range` is what they span.
        window: How many consecutive records are shuffled among themselves in training; `None`:
            all of them.
        unreadable: A dictionary that `decode` fills: path of a skipped image to the reason.
        reader: Who reads; `None` for the one of Keras's backend, see `keras_lodin.data.readers`.
        some_records: Function from the number of a record and a count to a dataset of so many,
            which does not read those before; `None` where passing over them costs nothing.

    Attributes:
        stored: how many records there are: examples, or files that may turn out unreadable.
        reader: who reads, see `keras_lodin.data.readers`.

    Example:
    ```python
    source = keras_lodin.data.load("digits:0-6", part="train")
    source.shape, source.count          # ((8, 8, 1), 759)
    for x, y in source.batches(128):    # float32 (128, 8, 8, 1), int64 (128,)
        ...
    ```
    """

    def __init__(
        self,
        name: str,
        records: Dataset,
        decode: Callable[[Dataset], Dataset],
        *,
        shape: tuple[int, ...],
        input_range: Bounds,
        count: int | None,
        labelled: bool,
        class_names: tuple[str, ...] | None = None,
        empty_classes: Sequence[str] = (),
        scaled: bool = True,
        window: int | None = None,
        unreadable: dict[str, str] | None = None,
        reader: ModuleType | None = None,
        some_records: Callable[[int, int], Dataset] | None = None,
    ) -> None:
        self.reader = reader or readers.READER
        self.name = name
        self.shape = shape
        self.input_range = input_range
        self.count = count
        self.labelled = labelled
        self.class_names = class_names
        self.empty_classes = tuple(empty_classes)
        self.scaled = scaled
        self._records = records
        self._some_records = some_records
        self._decode = decode
        self.stored = int(records.cardinality())
        self._window = window or self.stored
        self._unreadable = {} if unreadable is None else unreadable

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Unreadable images met so far, `(path, reason)`, in the order of their paths."""
        return sorted(self._unreadable.items())

    def batches(self, batch_size: int = 128) -> Dataset:
        """All examples once, in the fixed order.

        Args:
            batch_size: Examples per batch; the last batch may be smaller.

        Returns:
            What can be iterated over again and again and is taken by Keras's `fit`, `evaluate` and
            `predict`: on TensorFlow a `tf.data.Dataset`, on JAX and PyTorch one of NumPy arrays. Of
            `(x, y)`, or `(x,)` when there are no labels: x float32 of shape (batch, *shape), y
            int64 of shape (batch,). It knows its length once `count` is known: without, Keras warns
            at the end of every pass that it ran out of data.
        """
        check_batch_size(batch_size)
        batches = self._batched(self._decode(self._records), batch_size)
        if self.count is not None:
            batches = self.reader.with_length(batches, self.steps_per_epoch(batch_size))
        return self.reader.prefetched(batches)

    def _batched(self, examples: Dataset, batch_size: int) -> Dataset:
        # TensorFlow makes room for a whole batch beforehand, however few examples there are. Below
        # zero means that it does not know.
        most = self.stored if self.stored > 0 else batch_size
        return examples.batch(min(batch_size, most))

    def training_batches(
        self,
        batch_size: int,
        seed: int,
        first_epoch: int,
        last_epoch: int,
        augment: str | None = None,
    ) -> Dataset:
        """Shuffled batches of several epochs, one after the other.

        The batches of an epoch depend on `seed`, the epoch's number, `batch_size` and `augment`
        alone, neither on the global seeds nor on where the run began: a run that starts again at
        epoch 7 sees what the uninterrupted run saw from there on. Order, crops and mirror images
        are the same on all of Keras's backends.

        Args:
            batch_size: Examples per batch. The last batch of an epoch holds what is left: every
                example is seen once per epoch, and no batch spans two epochs.
            seed: Seed of order and augmentation.
            first_epoch: Number of the first epoch.
            last_epoch: One past the number of the last epoch.
            augment: `None`, or `"crop-flip"`: zero-padded random crops (4 pixels) and horizontal
                flips, for images.

        Returns:
            The same as `batches`, of `(last_epoch - first_epoch) * steps_per_epoch(batch_size)`
            batches.

        Raises:
            ValueError: If an argument is out of range, or the examples are no images.
        """
        check_batch_size(batch_size)
        if not 0 <= first_epoch <= last_epoch:
            raise ValueError(
                "Epochs must satisfy 0 <= first_epoch <= last_epoch. "
                f"Received: first_epoch={first_epoch}, last_epoch={last_epoch}"
            )
        if augment is not None and augment not in AUGMENTATIONS:
            raise ValueError(
                f"`augment` must be None or {' or '.join(map(repr, AUGMENTATIONS))}. "
                f"Received: augment={augment!r}"
            )
        if augment is not None and len(self.shape) != 3:
            raise ValueError(
                "Only images, of shape (height, width, channels), can be augmented. "
                f"Received: augment={augment!r}, examples of {self.name!r} of shape {self.shape}"
            )

        reader = self.reader

        def epoch_batches(epoch: Tensor) -> Dataset:
            order_seed, augment_seed = reader.split(reader.pair(seed, epoch))
            examples = self._decode(self._shuffled(order_seed))
            if augment is not None:
                examples = self._augmented(examples, AUGMENTATIONS[augment], augment_seed)
            return self._batched(examples, batch_size)

        return reader.prefetched(
            reader.Dataset.range(first_epoch, last_epoch).flat_map(epoch_batches)
        )

    def _shuffled(self, seed: Tensor) -> Dataset:
        """The records, permuted within windows."""
        reader = self.reader
        return (
            self._records.batch(self._window)
            .enumerate()
            .flat_map(
                lambda number, columns: reader.permuted(columns, reader.fold_in(seed, number))
            )
        )

    def _augmented(self, examples: Dataset, augmentation: Augmentation, seed: Tensor) -> Dataset:
        reader, black = self.reader, self.input_range[0]
        draw = reader.by_position(
            lambda position: augmentation.draw(reader, reader.fold_in(seed, position))
        )
        return reader.mapped(
            examples.enumerate(),
            lambda position, example: (
                augmentation.change(reader, example[0], draw(position), black),
                *example[1:],
            ),
        )

    def steps_per_epoch(self, batch_size: int) -> int:
        """Number of batches in an epoch.

        Where `count` is unknown, all examples are read once to learn it.

        Args:
            batch_size: Examples per batch.

        Returns:
            The number of batches, the last incomplete one included.
        """
        check_batch_size(batch_size)
        if self.count is None:
            self.count = sum(1 for _ in self._decode(self._records))
        return -(-self.count // batch_size)

    def with_labels_of(self, class_names: Sequence[str] | None) -> Source:
        """The same examples, labelled by the places that their classes have in other names.

        Args:
            class_names: The classes of a classifier or of other data, in the order of its labels.

        Returns:
            A `Source` with these class names. Where either side has no names, the source itself.

        Raises:
            ValueError: If the source has a class that is not among them.
        """
        places = label_places(self.class_names, class_names, f"`{self.name}`", self.empty_classes)
        if class_names is None or places is None or not self.labelled:
            return self
        table = self.reader.stored(places)
        mapped = copy.copy(self)
        mapped.class_names, mapped.empty_classes = tuple(class_names), ()
        mapped._decode = lambda records: self.reader.mapped(
            self._decode(records), lambda x, y: (x, table[y])
        )
        return mapped

    def excerpt(self, first: int, count: int) -> Source:
        """Some of the examples that stand one behind the other.

        Args:
            first: the number of the first one among the stored.
            count: how many.

        Returns:
            a `Source` of them, which notes what it skips where this one does.
        """
        part = copy.copy(self)
        part._records = (
            self._records.skip(first).take(count)
            if self._some_records is None
            else self._some_records(first, count)
        )
        part.stored = min(count, max(self.stored - first, 0))
        part.count = None if self.count is None else part.stored
        return part

    def __repr__(self) -> str:
        return (
            f"Source({self.name!r}, shape={self.shape}, input_range={self.input_range}, "
            f"count={self.count}, labelled={self.labelled})"
        )


def check_batch_size(batch_size: int) -> None:
    """Raises ValueError unless it is a whole number above 0."""
    check_whole("batch_size", batch_size, "a whole number above 0")
