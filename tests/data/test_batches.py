from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from PIL import Image

from keras_lodin import data
from keras_lodin.data.batches import (
    batch_count,
    check_images,
    check_labels,
    iterate_batches,
    one_batch,
    prediction_data,
)

X = np.arange(20, dtype="float32").reshape(10, 2)
Y = np.arange(10) % 3


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return X[rows], Y[rows]


def slices(*columns):
    return tf.data.Dataset.from_tensor_slices(columns if len(columns) > 1 else columns[0])


@pytest.mark.parametrize(
    ("make", "labelled"),
    [
        (lambda: X, False),
        (lambda: tf.constant(X), False),
        (lambda: (X,), False),
        (lambda: (X, Y), True),
        (lambda: (X, Y[:, None]), True),
        (lambda: (X, np.eye(3)[Y]), True),
        (lambda: (X, Y.astype("float32")), True),
        (lambda: (tf.constant(X), tf.constant(Y)), True),
        (lambda: (X, Y, np.ones(10)), True),
        (lambda: slices(X).batch(4), False),
        (lambda: slices(X).map(lambda x: (x,)).batch(4), False),
        (lambda: slices(X, Y).batch(4), True),
        (lambda: slices(X, Y, np.ones(10)).batch(4), True),
        (Sequence, True),
    ],
)
def test_all_kinds_of_data_give_the_same_batches(make, labelled):
    batches = list(iterate_batches(make(), batch_size=4))

    assert [len(x) for x, _ in batches] == [4, 4, 2]
    assert batch_count(make(), 4) == 3
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), X)
    if labelled:
        assert all(y.dtype == np.int64 for _, y in batches)
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), Y)
    else:
        assert all(y is None for _, y in batches)


def test_source_is_iterated_over():
    source = data.load("digits:0-1", part="test")

    batches = list(iterate_batches(source, 50))

    assert sum(len(x) for x, _ in batches) == source.count
    assert batches[0][1].dtype == np.int64


def test_arrays_are_not_copied():
    for x, _ in iterate_batches((X, Y), batch_size=4):
        assert np.shares_memory(x, X)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: X[:0], r"ndarray of shape \(0, 2\)"),
        (lambda: (X[:0], Y[:0]), r"\(ndarray of shape \(0, 2\), ndarray of shape \(0,\)\)"),
        (lambda: slices(X, Y).batch(4).take(0), "<_TakeDataset"),
    ],
)
def test_empty_data_are_named(make, name):
    with pytest.raises(ValueError, match=f"There is no example in the data.*Received: {name}"):
        list(iterate_batches(make()))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: x.astype("float16"),
        lambda x: tf.cast(x, tf.bfloat16),
        lambda x: slices(x).batch(4),
    ],
)
def test_nan_and_infinite_values_are_counted_and_located(wrap):
    x = X.copy()
    x[5, 1], x[6, 0], x[7, 0] = np.nan, np.nan, np.inf

    with pytest.raises(ValueError, match=r"2 NaN and 1 infinite .* example 5 at \(1,\)"):
        list(iterate_batches(wrap(x), batch_size=4))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y[:9], "arrays of the same length"),
        (np.array(3), "arrays of the same length"),
        (Y + 0.5, "must be whole numbers.*Received: 0.5"),
        (np.where(Y, np.nan, 0), "must be whole numbers.*Received: nan"),
        (np.full((10, 3), 1 / 3), "must be one-hot"),
        (np.zeros((10, 3)), "must be one-hot"),
        (np.ones((10, 3)), "must be one-hot"),
        (np.zeros((10, 1, 1)), "must be one per example"),
        (np.array(["a"] * 10), "must be numbers.*Received: labels of dtype <U1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        list(iterate_batches((X, y)))


def test_labels_of_a_dataset_that_do_not_fit_are_refused():
    batches = tf.data.Dataset.from_tensors((X, Y[:9]))

    with pytest.raises(ValueError, match=r"one per example: shape \(10,\).* shape \(9,\)"):
        list(iterate_batches(batches))


@pytest.mark.parametrize("make", [lambda: slices(X, Y), lambda: slices(X[:, 0])])
def test_dataset_that_is_not_batched_is_refused(make):
    with pytest.raises(ValueError, match=r"must come in batches: pass `dataset\.batch"):
        list(iterate_batches(make()))


def test_dataset_that_never_ends_is_refused():
    with pytest.raises(ValueError, match="remove its `repeat"):
        list(iterate_batches(slices(X).repeat().batch(2)))


def test_dataset_of_dictionaries_is_refused():
    with pytest.raises(TypeError, match=r"must be x, \(x,\), \(x, y\).*dict"):
        list(iterate_batches(slices({"image": X, "id": Y}).batch(2)))


class Frame:
    """What is asked of a data frame."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def to_numpy(self):
        return self.values


class Loader:
    """Batches of another library."""

    def __iter__(self):
        return iter([(X, Y)])


HELD_ANOTHER_WAY = {
    "list of lists": lambda x: x.tolist(),
    "list of arrays": list,
    "list of tensors": lambda x: list(tf.constant(x)),
    "list of arrays and tensors": lambda x: [tf.constant(x[0]), *x[1:]],
    "data frame": Frame,
    "list of series": lambda x: [Frame(row) for row in x],
    "masked array of which nothing is masked": np.ma.MaskedArray,
    "integers": lambda x: x.astype("int64"),
    "dict of one": lambda x: {"x": x},
    "big-endian": lambda x: x.astype(">f4"),
    "extended precision": lambda x: x.astype(np.longdouble),
    "bfloat16": lambda x: tf.cast(x, tf.bfloat16),
    "not contiguous": np.asfortranarray,
    "read-only": lambda x: np.broadcast_to(x, x.shape),
}


@pytest.mark.parametrize("held", HELD_ANOTHER_WAY)
def test_examples_held_another_way_are_the_same_examples(held):
    data = HELD_ANOTHER_WAY[held](X)

    found = np.concatenate([np.asarray(x, "float32") for x, _ in iterate_batches(data, 4)])

    np.testing.assert_array_equal(found, X)
    assert prediction_data(data).shape == X.shape


def test_images_in_a_list_are_stacked():
    pixels = np.arange(48, dtype="uint8").reshape(2, 4, 2, 3)

    ((found, _),) = iterate_batches([Image.fromarray(image) for image in pixels])

    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("labels", [Y.tolist(), list(Y), Frame(Y), tf.constant(Y)])
def test_labels_held_another_way_are_the_same_labels(labels):
    ((_, found),) = iterate_batches((X.tolist(), labels))

    np.testing.assert_array_equal(found, Y)


NO_ARRAY = {
    "name": (lambda: "digits:0-6", TypeError, r"`keras_lodin\.data\.load`.*'digits:0-6'$"),
    "none": (lambda: None, TypeError, "must be an array, a list of examples.*Received: None$"),
    "nothing": (lambda: (), TypeError, r"must both be arrays.*Received: \(\)$"),
    "labels alone": (lambda: (None, Y), TypeError, "must be an array.*Received: None$"),
    "number": (lambda: 3, TypeError, "must be an array.*Received: 3$"),
    "dict": (lambda: {"x": X, "y": Y}, TypeError, r"must be an array.*keys \['x', 'y'\]$"),
    "four columns": (lambda: (X,) * 4, TypeError, r"must both be arrays, a tuple \(x, y\)"),
    "data set and labels": (
        lambda: (slices(X, Y).batch(4), Y),
        TypeError,
        r"holds its labels itself.*\(<_BatchDataset .*>, ndarray of shape \(10,\)\)$",
    ),
    "ragged": (
        lambda: tf.ragged.constant([[1.0], [1.0, 2.0]]),
        TypeError,
        r"`x\.to_tensor\(\)`.*RaggedTensor of shape",
    ),
    "sparse": (lambda: tf.sparse.from_dense(X), TypeError, r"tf\.sparse\.to_dense.*SparseTensor"),
    "SciPy's sparse": (lambda: scipy.sparse.csr_matrix(X), TypeError, r"`x\.toarray\(\)`.*csr_m"),
    "list of two sizes": (
        lambda: [np.zeros((4, 4)), np.zeros((4, 5))],
        ValueError,
        r"one size.*list of length 2, with examples of shapes \(4, 4\), \(4, 5\)$",
    ),
    "lists of two lengths": (lambda: [[1, 2], [3]], ValueError, "one size.*differ in length$"),
    "palette image": (
        lambda: [Image.new("P", (4, 4))],
        ValueError,
        r"`image\.convert\('RGB'\)`.*mode 'P'$",
    ),
    "masked": (
        lambda: np.ma.masked_less(X, 3.0),
        ValueError,
        r"`x\.filled\(value\)`.*3 of 20 values masked$",
    ),
    "complex": (lambda: X + 0j, ValueError, r"real numbers: take `np\.abs.*dtype complex64$"),
    "complex tensor": (lambda: tf.constant(X + 0j), ValueError, "must be real.*complex64$"),
    "objects": (lambda: X.astype(object), ValueError, r"numbers; `x\.astype.*dtype object$"),
    "texts": (lambda: ["a.png", "b.png"], ValueError, r"`keras_lodin\.data\.load\('dir:.*<U5$"),
    "texts of TensorFlow": (lambda: tf.constant(["a"]), ValueError, "must be numbers"),
    "dates": (lambda: X.astype("datetime64[s]"), ValueError, "must be numbers.*datetime64"),
    "records": (lambda: np.zeros(3, [("a", "f4"), ("b", "f4")]), ValueError, "must be numbers"),
    "list with a hole": (lambda: [1.0, None], ValueError, "must be numbers.*dtype object$"),
    "no example": (lambda: X[:0], ValueError, "no example"),
    "empty list": (list, ValueError, "no example"),
}


@pytest.mark.parametrize("read", [lambda data: list(iterate_batches(data)), prediction_data])
@pytest.mark.parametrize("kind", NO_ARRAY)
def test_what_is_no_array_of_numbers_is_refused_without_its_values(kind, read):
    make, error, message = NO_ARRAY[kind]
    with pytest.raises(error, match=f"(?s){message}"):
        read(make())


@pytest.mark.parametrize(
    "make",
    [
        lambda: slices(X, Y).batch(4),
        lambda: slices(X).repeat().batch(4),
        Sequence,
        Loader,
    ],
)
def test_iterables_of_batches_are_left_to_keras(make):
    data = make()

    assert prediction_data(data) is data


def test_a_generator_may_yield_batches_that_are_in_no_tuple():
    assert list(prediction_data(batch for batch in [X, (X, Y)])) == [(X,), (X, Y)]


@pytest.mark.parametrize("inputs", ["batch", "named", "listed", "examples", "tensors", "numbers"])
def test_one_batch_comes_in_many_forms(inputs):
    forms = {
        "batch": X,
        "named": {"features": X},
        "listed": [tf.constant(X)],
        "examples": tuple(X),
        "tensors": list(tf.constant(X)),
        "numbers": X.tolist(),
    }
    np.testing.assert_array_equal(one_batch(forms[inputs], rank=2), X)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (None, TypeError, "must be an array.*Received: None"),
        ("x", TypeError, "must be an array.*Received: 'x'"),
        ({"a": X, "b": X}, TypeError, r"must be an array.*keys \['a', 'b'\]"),
        ([X[0], X[1, :1]], ValueError, r"one size.*shapes \(2,\), \(1,\)"),
        (list(map(tf.constant, [X[0], X[1, :1]])), ValueError, r"one size.*shapes"),
        ([keras.Input((2,)), keras.Input((2,))], TypeError, r"Concatenate\(\).*length 2"),
        (tf.sparse.from_dense(X), TypeError, r"tf\.sparse\.to_dense"),
        (np.ma.masked_less(X, 3.0), ValueError, r"x\.filled"),
    ],
)
def test_what_is_no_batch_is_refused(inputs, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        one_batch(inputs, rank=2)


def test_an_empty_data_set_is_refused_before_keras_predicts():
    with pytest.raises(ValueError, match=r"no example.*<_TakeDataset"):
        prediction_data(slices(X).batch(4).take(0))


@pytest.mark.parametrize("wrap", [lambda x: x, tf.constant, lambda x: slices(x).batch(4)])
def test_a_batch_may_be_of_any_real_numbers(wrap):
    for dtype in ("bool", "int8", "uint16", "float16", "float64"):
        ((found, _), *_) = iterate_batches(wrap(X.astype(dtype)), 20)
        assert len(found) in (4, 10)


def test_batches_that_are_dicts_are_refused_with_their_keys():
    batches = tf.data.Dataset.from_tensor_slices({"image": X, "label": Y}).batch(4)
    message = r"`dataset\.map.*Received: dict with the keys \['image', 'label'\]"
    with pytest.raises(TypeError, match=message):
        list(iterate_batches(batches))


@pytest.mark.parametrize("batch_size", [0, None, 2.5])
def test_batch_size_must_be_a_whole_number_above_0(batch_size):
    message = f"`batch_size` must be a whole number above 0. Received: batch_size={batch_size}"
    with pytest.raises(ValueError, match=message):
        list(iterate_batches(X, batch_size))


def test_labels_in_range_pass():
    check_labels(np.array([0, 1, 2]), num_classes=3)
    check_labels(np.array([], "int64"), num_classes=3)


def test_labels_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"lie in 0\.\.2.*3 of 5 labels outside: -1, 7"):
        check_labels(np.array([0, 7, -1, 2, 7]), num_classes=3)


def test_many_labels_out_of_range_are_abridged():
    with pytest.raises(ValueError, match=r"outside: 3, 4, 5, 6, 7, \.\.\."):
        check_labels(np.arange(20), num_classes=3)


@pytest.mark.parametrize(
    ("received", "shape"),
    [((5, 8, 8, 3), (8, 8, 3)), ((5, 9, 7, 3), (None, None, 3)), ((5, 12), (12,))],
)
def test_fitting_inputs_pass(received, shape):
    check_images(np.zeros(received), shape)


@pytest.mark.parametrize(
    ("received", "shape", "hint"),
    [
        ((5, 8, 8, 1), (8, 8, 3), ""),
        ((5, 8, 9, 3), (8, 8, 3), ""),
        ((5, 3, 8, 9), (8, 9, 3), " The channels seem to come first"),
        ((5, 8, 9, 3), (3, 8, 9), " The channels seem to come last"),
        ((5, 8, 8), (8, 8, 1), " The channel axis is missing: pass x[..., None]."),
        (
            (8, 8, 3),
            (8, 8, 3),
            " The batch axis is missing: pass x[None], or dataset.batch(...) of a dataset.",
        ),
        ((5, 12), (13,), ""),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_a_hint(received, shape, hint):
    with pytest.raises(ValueError, match="Inputs do not fit the classifier") as error:
        check_images(np.zeros(received), shape)

    expected = ", ".join(map(str, shape))
    assert f"takes shape (batch, {expected}).{hint}" in str(error.value)
    assert f"Received: inputs of shape {received}" in str(error.value)
