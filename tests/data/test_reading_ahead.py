import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lodin.data.reading_ahead import read_ahead


class Made:
    """Data sets of batches of one sample, by TensorFlow, that note what has been made of them."""

    def __init__(self):
        self.made = []
        self.some = threading.Condition()

    def data_set(self, name, count):
        def batches():
            for number in range(count):
                with self.some:
                    self.made.append((name, number))
                    self.some.notify_all()
                yield np.full((1, 2), number, "float32")

        signature = tf.TensorSpec((1, 2), "float32")
        options = tf.data.Options()
        # Or TensorFlow goes ahead itself, as far as it likes.
        options.experimental_optimization.inject_prefetch = False
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return dataset.with_options(options)

    def wait_for(self, name, number):
        with self.some:
            assert self.some.wait_for(lambda: (name, number) in self.made, timeout=60)


def test_the_next_batches_and_those_of_the_next_data_set_are_read_meanwhile_and_no_more():
    made = Made()
    reading = read_ahead([made.data_set("id", 6), made.data_set("ood", 6)], batch_size=1)
    ours = next(reading)
    next(ours)
    made.wait_for("id", 2)
    # Three have been asked for, and TensorFlow's generator itself is one ahead.
    assert ("id", 4) not in made.made
    for _ in range(5):
        x, y = next(ours)
    assert (float(x[0, 0]), y) == (5.0, None)
    made.wait_for("ood", 0)
    assert ("ood", 2) not in made.made
    assert list(ours) == []
    assert [float(x[0, 0]) for x, _ in next(reading)] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.raises(StopIteration):
        next(reading)


def test_what_is_wrong_with_a_batch_is_raised_where_it_is_asked_for():
    wrong = tf.data.Dataset.from_tensor_slices(np.array([[1.0], [np.nan]], "float32")).batch(1)
    reading = read_ahead([wrong, wrong], batch_size=1)
    batches = next(reading)
    next(batches)
    with pytest.raises(ValueError, match="Inputs must be finite"):
        next(batches)
    reading.close()


def test_a_users_own_code_stays_in_the_users_thread():
    threads = []

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            threads.append(threading.current_thread())
            return np.ones((1, 2), "float32")

    sets = [Batches(), tf.data.Dataset.from_tensors(np.zeros((3, 2), "float32")), np.ones((4, 2))]
    reading = read_ahead(sets, batch_size=2)
    assert [[len(x) for x, _ in batches] for batches in reading] == [[1, 1], [3], [2, 2]]
    assert set(threads) == {threading.current_thread()}
