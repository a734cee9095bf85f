"""Batches of several data sets, read in another thread before they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeAlias

import numpy as np

from keras_lodin.data.batches import iterate_batches, reads_itself
from keras_lodin.utils.tensor import Tensor
from keras_lodin.utils.threads import made_ahead

# Of the data set that is gone through, or, behind its last one, of the next.
_AHEAD = 2
_END: Any = object()

Batches: TypeAlias = Iterator[tuple[Tensor, np.ndarray | None]]


def read_ahead(data_sets: Sequence[object], batch_size: int) -> Generator[Batches, None, None]:
    """The batches of data sets, one behind the other, of which the next two are being read.

    While the last batches of a data set are worked on, the first ones of the next are read. Arrays
    need no reading, and a `keras.utils.PyDataset` runs code of the user's, who may not expect it in
    another thread: these are gone through as they are asked for.

    Args:
        data_sets: what `iterate_batches` takes, each.
        batch_size: samples per batch, for data that is not batched already.

    Yields:
        for each data set what `iterate_batches` yields of it, and raises. All of it has to be taken
        before the next is asked for.
    """
    elsewhere = [reads_itself(data) for data in data_sets]
    elements = itertools.chain.from_iterable(
        itertools.chain(iterate_batches(data, batch_size), [_END])
        for data in itertools.compress(data_sets, elsewhere)
    )
    with closing(made_ahead(elements, _AHEAD)) as made:
        for data, ahead in zip(data_sets, elsewhere, strict=True):
            if ahead:
                yield itertools.takewhile(lambda one: one is not _END, made)
            else:
                yield iterate_batches(data, batch_size)
