"""Scrambled copies: the same values, in another arrangement."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from keras_lodin.data.scrambled import scrambled


@given(shape=array_shapes(min_dims=3, max_dims=5, min_side=1, max_side=13), seed=st.integers(0, 3))
def test_scrambled_samples_keep_their_values_channel_by_channel(shape, seed):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    before = x.copy()
    y = scrambled(x, seed=seed)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(x, before)
    inner = tuple(range(1, x.ndim - 1))
    flat = (shape[0], int(np.prod([shape[axis] for axis in inner])), shape[-1])
    # Pixels travel whole: sorted by the first channel, every channel agrees.
    for ours, theirs in zip(x.reshape(flat), y.reshape(flat), strict=True):
        np.testing.assert_array_equal(
            ours[np.lexsort(ours.T[::-1])], theirs[np.lexsort(theirs.T[::-1])]
        )


@given(shape=array_shapes(min_dims=2, max_dims=2, max_side=20))
def test_scrambled_vectors_keep_the_values_of_every_feature(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    y = scrambled(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(np.sort(x, axis=0), np.sort(y, axis=0))


@pytest.mark.parametrize("shape", [(6, 10), (6, 64, 2), (6, 32, 32, 3), (6, 9, 9, 9, 1)])
def test_scrambling_changes_every_kind_of_sample_and_repeats_itself(shape, rng):
    x = rng.normal(size=shape)
    y = scrambled(x)
    assert np.mean(x != y) > 0.5
    np.testing.assert_array_equal(scrambled(x), y)
    assert np.any(scrambled(x, seed=1) != y)


def test_scrambling_moves_whole_blocks(rng):
    x = rng.normal(size=(5, 8, 8, 1))
    blocks = {block.tobytes() for image in x for block in _blocks_of_two(image)}
    assert all(b.tobytes() in blocks for image in scrambled(x) for b in _blocks_of_two(image))


def _blocks_of_two(image):
    return [image[i : i + 2, j : j + 2] for i in range(0, 8, 2) for j in range(0, 8, 2)]


def test_scrambled_pixels_stay_integers():
    pixels = np.arange(2 * 8 * 8 * 3, dtype="uint16").reshape(2, 8, 8, 3).astype("uint8")
    assert scrambled(tf.constant(pixels)).dtype == np.uint8
