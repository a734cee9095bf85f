"""Batches out of whatever a user holds data in, and checks that name what is wrong with them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from types import GeneratorType
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from keras_lodin.data.source import Source, check_batch_size
from keras_lodin.utils.late_keras import keras, ops
from keras_lodin.utils.tensor import Tensor
from keras_lodin.utils.tensorflow_types import is_tensorflow

# What `tf.data.Dataset.cardinality` says of one that never ends.
_INFINITE = -1


def iterate_batches(
    data: object, batch_size: int = 128
) -> Generator[tuple[Tensor, np.ndarray | None], None, None]:
    """Goes through data once, batch by batch, in their order.

    Args:
        data: One of
            * an array or tensor x, shape (count, ...), or what `as_array` makes one of;
            * a tuple `(x,)`, `(x, y)` or `(x, y, sample_weight)` of them;
            * a `tf.data.Dataset` of batches x or tuples as above;
            * a `keras.utils.PyDataset`;
            * a `keras_lodin.data.Source`, or batches of one.
            Labels y are whole numbers of shape (batch,) or (batch, 1), or one-hot rows. Sample
            weights are ignored.
        batch_size: Examples per batch, where the data are not batched already.

    Yields:
        `(x, y)`: x as the data hold it (arrays are sliced, never copied whole), y an int64 array
        of shape (batch,), or `None` when there are no labels.

    Raises:
        ValueError: If there is no example, a value is no finite real number, or the labels do not
            fit.
        TypeError: If data are of another kind.
    """
    name = f"`{data.name}`" if isinstance(data, Source) else "the data"
    first = 0
    for batch in _raw_batches(data, batch_size):
        x, y = _split_batch(batch, name)
        count = x.shape[0]
        if count == 0:
            continue
        check_finite(x, name, first)
        yield x, None if y is None else integer_labels(y, count, name)
        first += count
    if first == 0:
        raise ValueError(
            f"There is no example in {name}.{_unreadable_files(data)} Expected one or more. "
            f"Received: {described(data)}"
        )


def reads_itself(data: object) -> bool:
    """Whether data are read by a reader of ours or TensorFlow's, which any thread may ask."""
    return isinstance(data, Source) or _is_iterable(data) or is_tensorflow(data, "data.Dataset")


def batch_count(data: object, batch_size: int) -> int | None:
    """How many batches `iterate_batches` will yield; None where that is not known before."""
    if _is_iterable(data) or isinstance(data, keras.utils.PyDataset):
        return data.num_batches
    if is_tensorflow(data, "data.Dataset"):
        batches = int(data.cardinality())
        return batches if batches >= 0 else None
    if isinstance(data, Source):
        count = data.count
    else:
        x = data[0] if isinstance(data, tuple) and data else data
        shape: tuple[int, ...] = getattr(_only_entry(x), "shape", ())
        count = shape[0] if len(shape) else None
    if count is None:
        return None
    check_batch_size(batch_size)
    return -(-count // batch_size)


def one_batch(inputs: object, rank: int) -> Tensor:
    """One batch, an array or a tensor, out of whatever a layer may be called on.

    Args:
        inputs: A batch, alone or as the one entry of a list or dictionary; or a list of examples
            of one size.
        rank: The number of axes of a batch.

    Raises:
        ValueError: If examples differ in size.
        TypeError: If inputs are of another kind.
    """
    if isinstance(inputs, (list, tuple, dict)):
        entries = list(inputs.values()) if isinstance(inputs, dict) else list(inputs)
        if len(entries) == 1 and len(getattr(entries[0], "shape", ())) == rank:
            return one_batch(entries[0], rank)
        if any(keras.utils.is_keras_tensor(entry) for entry in entries):
            raise TypeError(
                "A detector takes one tensor: join several with `keras.layers.Concatenate()`. "
                f"Received: {described(inputs)}"
            )
        if not isinstance(inputs, dict) and any(ops.is_tensor(entry) for entry in entries):
            shapes = {tuple(entry.shape) if hasattr(entry, "shape") else () for entry in entries}
            if len(shapes) == 1:
                return ops.stack(entries)  # In a graph, which has no values for an array.
        inputs = entries if isinstance(inputs, tuple) else inputs
    return as_array(inputs, "the batch")


def prediction_data(data: object) -> object:
    """Data in a form that Keras's `predict` takes, whatever else a user holds them in.

    Args:
        data: What `iterate_batches` takes, or what Keras's `predict` does. Labels are left out.

    Returns:
        An array of real numbers, one example or more, or an iterable of batches, as it was.

    Raises:
        ValueError: If there is no example, or values are no real numbers.
        TypeError: If data are of another kind.
    """
    if isinstance(data, Source):
        return data.batches()
    if isinstance(data, GeneratorType):
        # Keras takes no batch that is not in a tuple.
        return (batch if isinstance(batch, tuple) else (batch,) for batch in data)
    if is_tensorflow(data, "data.Dataset"):
        empty = data.cardinality() == 0
    elif isinstance(data, keras.utils.PyDataset) or _is_iterable_of_batches(data):
        empty = False  # Not known before it is gone through.
    else:
        data = examples = _columns(data)[0]
        check_numbers(examples, "the data")
        empty = examples.shape[0] == 0
    if empty:
        raise ValueError(
            f"There is no example in the data. Expected one or more. Received: {described(data)}"
        )
    return data


def _is_iterable_of_batches(data: object) -> bool:
    """Loaders and the like: what can be iterated over and is no collection here."""
    collections = (str, bytes, list, tuple, dict, set, Image.Image)
    return isinstance(data, Iterable) and not isinstance(data, collections) and not _is_array(data)


def _is_array(data: object) -> bool:
    return hasattr(data, "shape") or hasattr(data, "to_numpy")


def as_array(values: object, name: str) -> Tensor:
    """An array of what a user may hold examples or labels in.

    Args:
        values: An array or a tensor of any library, a data frame or a series, an image, or a list
            of examples of one size.
        name: What they belong to, for messages.

    Returns:
        `values` itself where it is an array or a tensor already.

    Raises:
        ValueError: If examples differ in size, values are masked, or an image's numbers do not
            stand for its colours.
        TypeError: If values are of another kind, or an array of which not every value is there.
    """
    if isinstance(values, Image.Image):
        return _pixels(values, name)
    if isinstance(values, list):
        return _stacked(values, name)
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            raise ValueError(
                f"A value that is masked is none, and cannot be scored: {name} must be without "
                "them. Put numbers in their places with `x.filled(value)`, or drop those examples. "
                f"Received: {int(np.ma.getmaskarray(values).sum())} of {values.size} values masked"
            )
        return np.asarray(values.data)
    if is_tensorflow(values, "RaggedTensor"):
        raise TypeError(
            f"Examples of {name} must be of one size: pad them with `x.to_tensor()`, or cut them. "
            f"Received: RaggedTensor of shape {tuple(values.shape)}"
        )
    # Those of TensorFlow, of SciPy and of PyTorch, by what each alone has.
    is_sparse = getattr(values, "is_sparse", False) is True
    if is_tensorflow(values, "SparseTensor") or hasattr(values, "tocoo") or is_sparse:
        raise TypeError(
            f"Examples of {name} must hold every value: make a dense array with "
            "`tf.sparse.to_dense(x)`, or `x.toarray()` in SciPy. "
            f"Received: {described(values)}"
        )
    if hasattr(values, "to_numpy"):
        return as_array(values.to_numpy(), name)
    if not hasattr(values, "shape"):
        raise TypeError(
            "Data must be an array, a list of examples, a tuple (x, y) of these, a batched "
            "tf.data.Dataset or a keras.utils.PyDataset with its labels inside, or a keras_lodin "
            "data source. A name such as 'digits:0-6' or 'dir:photos' is turned into a source by "
            f"`keras_lodin.data.load`. Received: {described(values)}"
        )
    if getattr(values, "dtype", None) == np.longdouble and np.longdouble != np.float64:
        return np.asarray(values, "float64")  # No backend has more precise numbers.
    return values


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    if image.mode not in ("L", "RGB", "RGBA", "F", "I", "I;16"):
        raise ValueError(
            f"An image of {name} must hold its colours as numbers: `image.convert('RGB')`, or "
            f"'L' for grey, makes one that does. Received: an image of mode {image.mode!r}"
        )
    return np.asarray(image)


def _stacked(values: list[object], name: str) -> np.ndarray:
    items = [
        _as_numpy(as_array(value, name))
        if _is_array(value) or isinstance(value, Image.Image)
        else value
        for value in values
    ]
    shapes = [tuple(item.shape) for item in items if hasattr(item, "shape")]
    if len(set(shapes)) <= 1:
        try:
            return np.asarray(items)
        except (TypeError, ValueError):  # lists within the list that differ in length
            shapes = []
    listed = (
        f" of shapes {shapes[0]}, {next(s for s in shapes if s != shapes[0])}" if shapes else ""
    )
    raise ValueError(
        f"Examples of {name} must all be of one size to make one array: resize or pad them first. "
        f"Received: list of length {len(values)}, with examples{listed or ' that differ in length'}"
    )


def _as_numpy(values: Tensor) -> np.ndarray:
    """An array of values, which PyTorch may have on an accelerator, or in a type of its own."""
    try:
        return np.asarray(values)
    except (TypeError, RuntimeError):
        return ops.convert_to_numpy(values)


def integer_labels(y: ArrayLike, count: int, name: str) -> np.ndarray:
    """Brings labels to whole numbers, one per example.

    Args:
        y: Labels as whole numbers of any numeric type, shape (count,) or (count, 1), or one-hot
            rows of shape (count, classes).
        count: The number of examples.
        name: What the labels belong to, for messages.

    Returns:
        Labels, int64, shape (count,).

    Raises:
        ValueError: If there is not one label per example, or one is not a whole number.
    """
    y = _as_numpy(y)
    if y.ndim not in (1, 2) or len(y) != count:
        raise ValueError(
            f"Labels of {name} must be one per example: shape ({count},), or ({count}, classes) "
            f"when one-hot. Received: labels of shape {y.shape}"
        )
    if not (np.issubdtype(y.dtype, np.number) or y.dtype == bool):
        raise ValueError(
            f"Labels of {name} must be numbers, the classes' places in the logits; "
            "`np.unique(names, return_inverse=True)[1]` makes them of names in their order. "
            f"Received: labels of dtype {y.dtype}"
        )
    if y.ndim == 2 and y.shape[1] != 1:
        one_hot = ((y == 0) | (y == 1)).all(axis=1) & (y.sum(axis=1) == 1)
        if not one_hot.all():
            raise ValueError(
                f"Labels of {name} with two dimensions must be one-hot: a single 1 in every row, "
                f"otherwise 0. Received: {y[~one_hot][0]}"
            )
        return y.argmax(axis=1)
    y = y.reshape(count)
    whole = y.astype("int64", copy=False) if np.isfinite(y).all() else np.zeros_like(y)
    if (whole != y).any():
        raise ValueError(
            f"Labels of {name} must be whole numbers, the classes' places in the logits. "
            f"Received: {y[whole != y][0]} among them"
        )
    return whole


def check_numbers(x: Tensor, name: str) -> None:
    """Raises ValueError for text, dates, objects, records and complex numbers.

    Args:
        x: Examples, shape (batch, ...).
        name: What they belong to, for messages.
    """
    dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    dtype = getattr(dtype, "as_numpy_dtype", dtype)  # TensorFlow's
    if not isinstance(dtype, np.dtype) and not isinstance(dtype, type):
        return  # Another library's, all of which are numbers.
    dtype = np.dtype(dtype)
    received = f"Received: inputs of shape {x.shape} and dtype {dtype}"
    if dtype.kind == "c":
        raise ValueError(
            f"Inputs of {name} must be real numbers: take `np.abs(x)`, or stack `x.real` and "
            f"`x.imag` as the classifier was trained on. {received}"
        )
    # V: records, but bfloat16 too, of which numpy knows no more.
    if dtype.kind in "OSUmM" or issubclass(dtype.type, np.void):
        raise ValueError(
            f"Inputs of {name} must be numbers; `x.astype('float32')` converts what can be, and "
            f"`keras_lodin.data.load('dir:FOLDER')` reads files. {received}"
        )


def check_finite(x: Tensor, name: str, first: int = 0) -> None:
    """Raises ValueError for NaN, infinite values, and what is no real number at all.

    Args:
        x: Examples, shape (batch, ...).
        name: What they belong to, for messages.
        first: The number of x's first example within the data.
    """
    check_numbers(x, name)
    values = _as_numpy(x)
    if values.dtype.kind not in "fV":
        return
    wrong = ~np.isfinite(values)
    if wrong.any():
        example, *place = np.argwhere(wrong)[0].tolist()
        nans = int(np.isnan(values).sum())
        raise ValueError(
            f"Inputs must be finite. Received: {nans} NaN and {int(wrong.sum()) - nans} infinite "
            f"value(s) in {name}, among examples {first} to {first + len(values) - 1}; the first "
            f"is in example {first + example} at {tuple(place)}"
        )


def check_labels(labels: ArrayLike, num_classes: int) -> None:
    """Raises ValueError for labels outside 0 .. num_classes - 1, for which there is no class."""
    labels = np.asarray(labels)
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if outside.size:
        values = np.unique(outside).tolist()
        shown = ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")
        raise ValueError(
            f"Labels must lie in 0..{num_classes - 1}, as the classifier has {num_classes} "
            "classes. Labels that count from 1 need `y - 1`. "
            f"Received: {outside.size} of {labels.size} labels outside: {shown}"
        )


def check_images(x: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raises ValueError for inputs whose shape does not fit the classifier, with a hint.

    Args:
        x: A batch of inputs, shape (batch, ...). In a graph a size may not be known, and is then
            not checked.
        shape: The per-example shape that the classifier takes; `None` for dimensions of any size.
    """
    expected = ", ".join(str(size) for size in ("batch", *shape))
    # TensorFlow makes one graph for batches that differ in rank, and knows no shape in it.
    if is_tensorflow(x.shape, "TensorShape") and x.shape.rank is None:
        raise ValueError(
            f"Inputs do not fit the classifier, which takes shape ({expected}). Received: inputs "
            "of another number of axes than before"
        )
    received = tuple(x.shape)
    if not _fits(received[1:], shape):
        raise ValueError(
            f"Inputs do not fit the classifier, which takes shape ({expected})."
            f"{_shape_hint(received, shape)} Received: inputs of shape {received}"
        )


def _fits(received: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(received) == len(shape) and all(
        None in (wanted, there) or wanted == there
        for there, wanted in zip(received, shape, strict=True)
    )


def _shape_hint(received: tuple[int, ...], shape: tuple[int | None, ...]) -> str:
    if _fits(received, shape):
        return " The batch axis is missing: pass x[None], or dataset.batch(...) of a dataset."
    if _fits((*received[1:], 1), shape):
        return " The channel axis is missing: pass x[..., None]."
    if len(received) == 4:
        _, a, b, c = received
        if _fits((b, c, a), shape):
            return " The channels seem to come first: pass np.transpose(x, (0, 2, 3, 1))."
        if _fits((c, a, b), shape):
            return " The channels seem to come last: pass np.transpose(x, (0, 3, 1, 2))."
    return ""


def _raw_batches(data: object, batch_size: int) -> Iterable[object]:
    if isinstance(data, Source):
        return data.batches(batch_size)
    if is_tensorflow(data, "data.Dataset"):
        if data.cardinality() == _INFINITE:
            raise ValueError(
                "The dataset never ends: remove its `repeat()`, or cut it with `take(batches)`. "
                f"Received: {described(data)}"
            )
        return data
    if _is_iterable(data):
        return data
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError(
                "The PyDataset must say how many batches it has: give it a `__len__`. "
                f"Received: {described(data)}"
            )
        return (data[index] for index in range(data.num_batches))
    return _array_batches(_columns(data), batch_size)


def _columns(data: object) -> tuple[Tensor, ...]:
    """Examples, and labels where there are some, as arrays."""
    columns = data if isinstance(data, tuple) else (data,)
    if not 1 <= len(columns) <= 3 or _holds_batches(columns[0]):
        raise TypeError(
            "Examples and labels must both be arrays, a tuple (x, y); a data set holds its labels "
            f"itself, and is given alone. Received: {described(data)}"
        )
    x, y = columns[0], columns[1] if len(columns) > 1 else None
    x = as_array(_only_entry(x), "the data")
    return (x,) if y is None else (x, as_array(y, "the data"))


def _holds_batches(data: object) -> bool:
    return isinstance(data, keras.utils.PyDataset) or reads_itself(data)


def _is_iterable(data: object) -> TypeGuard[Any]:
    from keras_lodin.utils.keras_internals import IterableData

    return isinstance(data, IterableData)


def _only_entry(x: object) -> object:
    """Examples by the name of the one input that they are for, without it."""
    return next(iter(x.values())) if isinstance(x, dict) and len(x) == 1 else x


def _array_batches(columns: tuple[Tensor, ...], batch_size: int) -> Iterator[tuple[Tensor, ...]]:
    check_batch_size(batch_size)
    shapes = [tuple(column.shape) for column in columns]
    if any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(
            f"Inputs and labels must be arrays of the same length. Received: shapes {shapes}"
        )
    for start in range(0, shapes[0][0], batch_size):
        yield tuple(column[start : start + batch_size] for column in columns)


def _split_batch(batch: object, name: str) -> tuple[Tensor, Tensor | None]:
    columns = batch if isinstance(batch, (tuple, list)) else (batch,)
    x = _only_entry(columns[0]) if columns else None
    if not 1 <= len(columns) <= 3 or isinstance(x, dict):
        raise TypeError(
            f"Batches of {name} must be x, (x,), (x, y) or (x, y, sample_weight), each an array; "
            "`dataset.map(lambda row: (row['image'], row['label']))` makes them of dicts. "
            f"Received: {described(batch)}"
        )
    x = as_array(x, name)
    y = as_array(columns[1], name) if len(columns) > 1 and columns[1] is not None else None
    if np.ndim(x) == 0 or (y is not None and np.ndim(y) == 0):
        raise ValueError(
            f"Examples of {name} must come in batches: pass `dataset.batch(...)`. "
            f"Received: x of shape {tuple(x.shape)}" + ("" if y is None else ", y a scalar")
        )
    return x, y


def described(data: object) -> str:
    """Data as a message shows it: without its values."""
    if hasattr(data, "shape"):
        return f"{type(data).__name__} of shape {tuple(data.shape)}"
    if isinstance(data, tuple):
        return f"({', '.join(map(described, data))})"
    if isinstance(data, list):
        return f"list of length {len(data)}"
    if isinstance(data, dict):
        return f"dict with the keys {list(data)}"
    return f"{data!r:.200}"


def _unreadable_files(data: object) -> str:
    skipped = data.skipped if isinstance(data, Source) else []
    if not skipped:
        return ""
    path, reason = skipped[0]
    return f" {len(skipped)} file(s) could not be read; the first is {path}: {reason}."
