"""Data sets in Python."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from keras_lodin.data.readers import numpy as reader

COLUMNS = (np.arange(7), np.arange(7.0) ** 2)


def listed(dataset):
    return [tuple(map(np.ndarray.tolist, map(np.asarray, one))) for one in dataset]


@pytest.mark.parametrize(
    "steps",
    [
        lambda rows: rows,
        lambda rows: rows.batch(3),
        lambda rows: rows.map(lambda x, y: (x + 1, y)).batch(2),
        lambda rows: rows.batch(3).unbatch(),
        lambda rows: rows.filter(lambda x, y: x % 2 == 0).batch(3),
        lambda rows: rows.enumerate().map(lambda number, row: (number, *row)),
        lambda rows: rows.take(4),
        lambda rows: rows.take(9).batch(4),
        lambda rows: rows.map(lambda x, y: x).batch(2).map(lambda x: (x,)),
        lambda rows: rows.batch(3).flat_map(lambda x, y: rows.take(1)),
    ],
)
def test_steps_are_those_of_tf_data(steps):
    ours = steps(reader.Dataset.from_tensor_slices(COLUMNS))
    theirs = steps(tf.data.Dataset.from_tensor_slices(COLUMNS))
    assert listed(ours) == listed(ours) == listed(theirs)
    assert bool(ours)
    if theirs.cardinality() >= 0:
        assert len(ours) == ours.num_batches == ours.cardinality() == int(theirs.cardinality())
    else:
        assert ours.num_batches is None
        assert ours.cardinality() == theirs.cardinality() == tf.data.UNKNOWN_CARDINALITY
        with pytest.raises(TypeError, match="known once"):
            len(ours)


def test_elements_are_made_ahead_and_no_more_of_them_than_a_few():
    made = []
    ahead = reader.prefetched(reader.Dataset.range(0, 100).map(lambda number: made.append(number)))
    elements = iter(ahead)
    next(elements)
    elements.close()
    assert 1 <= len(made) <= 4
    assert len(list(ahead)) == len(ahead) == 100
    assert threading.active_count() < 50


def test_an_error_amid_a_pass_is_raised_where_the_element_is_asked_for():
    def fail(number):
        if number == 2:
            raise ValueError("the third")
        return number

    elements = iter(reader.prefetched(reader.Dataset.range(0, 5).map(fail)))
    assert [next(elements), next(elements)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(elements)
