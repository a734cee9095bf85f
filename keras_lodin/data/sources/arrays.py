"""Sources whose examples lie in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_lodin.data import readers
from keras_lodin.data.source import Source
from keras_lodin.data.value_range import Bounds
from keras_lodin.utils.tensor import Tensor


def array_source(
    name: str,
    x: np.ndarray,
    y: np.ndarray | None,
    transform: Callable[[Tensor], Tensor] | None,
    *,
    shape: tuple[int, ...],
    input_range: Bounds,
    class_names: tuple[str, ...] | None = None,
    scaled: bool = True,
) -> Source:
    """Makes a source of arrays.

    Args:
        name: The specification.
        x: What is stored, shape (count, ...), in the order the source shall have.
        y: int64 labels, shape (count,), or `None`.
        transform: Function from one stored x to one example, float32 of shape `shape`: a tensor in
            a graph of tf.data on TensorFlow, an array of NumPy on JAX and PyTorch. `None` where x
            holds the examples.
        shape: Shape of one example.
        input_range: The smallest and the largest value that examples take.
        class_names: Names of the classes, where known.
        scaled: Whether values lie in the `input_range` that was asked for.

    Returns:
        A `Source`.
    """
    reader = readers.READER
    stored = reader.stored(x)

    def example(index: Tensor, *label: Tensor) -> tuple[Tensor, ...]:
        # A slice, not tf.gather: what a gather cannot find it replaces by zeros in silence.
        one = stored[index]
        return (one if transform is None else transform(one), *label)

    labels = () if y is None else (np.asarray(y, "int64"),)
    return Source(
        name,
        reader.Dataset.from_tensor_slices((np.arange(len(x)), *labels)),
        lambda records: reader.mapped(records, example),
        shape=shape,
        input_range=input_range,
        count=len(x),
        labelled=y is not None,
        class_names=class_names,
        scaled=scaled,
    )
