"""The random numbers of a seed, in NumPy, against TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf

from keras_lodin.data.readers import philox

SEEDS = ([0, 0], [3, 4], [-1, 2**62], [2**63 - 1, -(2**63)])
COUNTS = (1, 2, 4, 5, 1001)


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_of_a_seed_are_those_of_tensorflow(seed):
    key = tf.constant(seed, tf.int64)
    np.testing.assert_array_equal(np.stack(philox.split(seed)), tf.random.split(key, 2))
    for number in (0, 5, 2**40):
        folded = tf.random.fold_in(key, tf.constant(number, tf.int64))
        np.testing.assert_array_equal(philox.fold_in(seed, number), folded)
    for count in COUNTS:
        found = philox.integers(count, seed)
        wanted = tf.random.stateless_uniform((count,), key, maxval=2**31 - 1, dtype=tf.int32)
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == np.int32
        wanted = tf.random.experimental.stateless_shuffle(tf.range(count), key)
        np.testing.assert_array_equal(philox.permutation(count, seed), wanted)
        wanted = tf.random.stateless_uniform((count,), key, -1.0, 3.0)
        np.testing.assert_array_equal(philox.uniform((count,), seed, -1.0, 3.0), wanted)
        # Logarithm, sine and cosine differ by the last bit.
        wanted = tf.random.stateless_normal((count,), key, 0.5, 0.25)
        found = philox.normal((count,), seed, 0.5, 0.25)
        np.testing.assert_allclose(found, wanted, rtol=0.0, atol=1e-6)
        assert found.dtype == np.float32
    assert philox.permutation(0, seed).shape == (0,)


def test_ranges_of_each_feature_are_kept():
    low, high = np.array([0.0, -1.0], "float32"), np.array([1.0, 5.0], "float32")
    wanted = tf.random.stateless_uniform((9, 2), (1, 2), low, high)
    np.testing.assert_array_equal(philox.uniform((9, 2), (1, 2), low, high), wanted)


def test_many_seeds_at_once_give_what_each_gives_alone():
    seeds = philox.fold_in([7, 8], np.arange(6)).reshape(2, 3, 2)
    for draw in (
        lambda seed: np.stack(philox.split(seed), axis=-2),
        lambda seed: philox.integers(5, seed),
        lambda seed: philox.uniform((), seed),
    ):
        alone = [[draw(seed) for seed in row] for row in seeds]
        np.testing.assert_array_equal(draw(seeds), alone)
