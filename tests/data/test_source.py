from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lodin import data
from keras_lodin.data import readers
from keras_lodin.data.readers import numpy as numpy_reader
from keras_lodin.data.source import Source


def numbers(count, window=None, reader=None):
    """A source whose examples are 1x1 images of their own number."""
    reader = reader or readers.READER
    return Source(
        "numbers",
        reader.Dataset.from_tensor_slices((np.arange(count),)),
        lambda records: records.map(
            lambda index: (reader.reshape(reader.floats(index), (1, 1, 1)), index)
        ),
        shape=(1, 1, 1),
        input_range=(-1.0, float(count)),
        count=count,
        labelled=True,
        window=window,
        reader=reader,
    )


def order(dataset):
    return [np.asarray(y).tolist() for _, y in dataset]


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 12),
    batch_size=st.integers(1, 13),
    seed=st.integers(0, 2**63 - 1),
    resume=st.integers(0, 3),
    window=st.none() | st.integers(1, 12),
)
def test_any_resumed_run_sees_the_tail_of_the_uninterrupted_one(
    count, batch_size, seed, resume, window
):
    source = numbers(count, window)

    whole = order(source.training_batches(batch_size, seed, 0, 3))
    resumed = order(source.training_batches(batch_size, seed, resume, 3))

    steps = source.steps_per_epoch(batch_size)
    assert len(whole) == 3 * steps
    assert resumed == whole[resume * steps :]
    by_numpy = numbers(count, window, numpy_reader)
    assert order(by_numpy.training_batches(batch_size, seed, 0, 3)) == whole
    for epoch in range(3):
        batches = whole[epoch * steps : (epoch + 1) * steps]
        assert sorted(number for batch in batches for number in batch) == list(range(count))


def test_order_differs_between_epochs_and_seeds(reader):
    source = numbers(50)

    first, second = order(source.training_batches(50, 0, 0, 2))
    (other,) = order(source.training_batches(50, 1, 0, 1))

    assert len({tuple(first), tuple(second), tuple(other), tuple(range(50))}) == 4


def test_windows_bound_how_far_records_travel(reader):
    (seen,) = order(numbers(40, window=10).training_batches(40, 0, 0, 1))

    assert [number // 10 for number in seen] == [place // 10 for place in range(40)]
    assert len({tuple(np.array(seen[start : start + 10]) % 10) for start in range(0, 40, 10)}) == 4


def test_augmentation_differs_between_epochs_and_positions(reader):
    source = data.load("digits:3", part="test", image_shape=(8, 8, 1))

    def augmented(first, last):
        batches = source.training_batches(40, 0, first, last, "crop-flip")
        return np.stack([np.asarray(x) for x, _ in batches])

    plain = np.stack([np.asarray(x) for x, _ in source.training_batches(40, 0, 0, 1)])
    both = augmented(0, 2)

    assert not np.array_equal(both[0], both[1])
    assert not np.array_equal(both[0], plain[0])
    np.testing.assert_array_equal(augmented(1, 2)[0], both[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be a whole number above 0. Received: batch_size=0"),
        ({"first_epoch": 3}, "Received: first_epoch=3, last_epoch=2"),
        ({"first_epoch": -1}, "0 <= first_epoch <= last_epoch"),
        ({"augment": "mixup"}, "None or 'crop-flip'. Received: augment='mixup'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    defaults = {"batch_size": 4, "seed": 0, "first_epoch": 0, "last_epoch": 2}

    with pytest.raises(ValueError, match=message):
        numbers(8).training_batches(**{**defaults, **arguments})


def test_vectors_cannot_be_augmented():
    source = data.load("digits", part="test", image_shape=(64,))

    with pytest.raises(ValueError, match="Only images"):
        source.training_batches(4, 0, 0, 1, "crop-flip")


def test_keras_predicts_from_batches():
    source = data.load("digits:0-1", part="test")
    model = keras.Sequential([keras.Input(source.shape), keras.layers.Flatten()])

    assert model.predict(source.batches(16), verbose=0).shape == (source.count, 64)


def test_keras_fits_through_the_epochs_of_one_dataset():
    source = data.load("digits:0-1", part="test")
    model = keras.Sequential(
        [keras.Input(source.shape), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    history = model.fit(
        source.training_batches(16, 0, 1, 4),
        initial_epoch=1,
        epochs=4,
        steps_per_epoch=source.steps_per_epoch(16),
        shuffle=False,  # the dataset is; Keras warns otherwise
        verbose=0,
    )

    assert history.epoch == [1, 2, 3]


def test_representation_names_the_source():
    assert repr(numbers(3)) == (
        "Source('numbers', shape=(1, 1, 1), input_range=(-1.0, 3.0), count=3, labelled=True)"
    )


def test_batches_know_their_length_once_the_examples_are_counted(class_folder, reader):
    (class_folder / "apple" / "broken.png").write_bytes(b"broken")
    source = data.load(f"dir:{class_folder}", part="test")
    assert source.batches(4).cardinality() == -2
    for batch_size in (1, 3, 4, 5, 12, 13):
        steps = source.steps_per_epoch(batch_size)
        batches = source.batches(batch_size)
        assert batches.cardinality() == steps == len(list(batches)) == -(-12 // batch_size)
        assert numbers(12).batches(batch_size).cardinality() == steps
