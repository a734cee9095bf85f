from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lodin import data
from keras_lodin.data.batches import check_images, check_labels, iterate_batches

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


@pytest.mark.parametrize("make", [lambda: "digits", lambda: [1, 2], lambda: (), lambda: ("a", "b")])
def test_other_data_are_refused(make):
    with pytest.raises(TypeError, match="Data must be an array, a tuple"):
        list(iterate_batches(make()))


def test_dataset_of_dictionaries_is_refused():
    with pytest.raises(TypeError, match=r"must be x, \(x,\), \(x, y\).*dict"):
        list(iterate_batches(slices({"image": X}).batch(2)))


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (X.tolist(), "list of length 10"),
        ((X, Y.tolist()), r"\(ndarray of shape \(10, 2\), list of length 10\)"),
        ("digits:0-6", "'digits:0-6'"),
        ((slices(X, Y).batch(4), Y), r"\(<_BatchDataset .*>, ndarray of shape \(10,\)\)"),
    ],
)
def test_data_of_another_kind_are_refused_without_their_values(data, received):
    with pytest.raises(TypeError, match=f"Turn a list into an array.*Received: {received}$"):
        list(iterate_batches(data))


def test_batches_that_are_dicts_are_refused_with_their_keys():
    batches = tf.data.Dataset.from_tensor_slices({"image": X, "label": Y}).batch(4)
    message = r"`dataset\.map.*Received: dict with the keys \['image', 'label'\]"
    with pytest.raises(TypeError, match=message):
        list(iterate_batches(batches))


def test_inputs_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match=r"must be numbers; `x\.astype.*dtype object"):
        list(iterate_batches(X.astype(object)))


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
