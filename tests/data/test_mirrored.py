"""Mirrored copies: a part of each sample, there and back, without a seam."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from keras_lodin.data.mirrored import mirrored
from keras_lodin.data.scrambled import scrambled


@given(shape=array_shapes(min_dims=3, max_dims=5, min_side=1, max_side=13), seed=st.integers(0, 3))
def test_copies_have_the_values_of_their_own_sample_and_channel(shape, seed):
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    before = x.copy()
    y = mirrored(x, seed=seed)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(x, before)
    for ours, theirs in zip(x, y, strict=True):
        for channel in range(shape[-1]):
            assert np.isin(theirs[..., channel], ours[..., channel]).all()


def test_neighbours_were_neighbours_or_are_the_same():
    rows, columns = np.meshgrid(np.arange(32), np.arange(24), indexing="ij")
    y = mirrored(np.tile(np.stack([rows, columns], axis=-1), (50, 1, 1, 1)))
    for axis in (1, 2):
        assert np.abs(np.diff(y, axis=axis)).max() == 1
    # A quarter of each side, whichever the phase.
    assert {len(np.unique(image[..., 0])) for image in y} == {8}
    assert {len(np.unique(image[..., 1])) for image in y} == {6}
    assert len({image.tobytes() for image in y}) > 45


def test_every_part_is_taken(rng):
    places = np.tile(np.arange(16)[:, None], (400, 1, 1))
    y = mirrored(places)
    assert set(np.unique(y)) == set(range(16))


@pytest.mark.parametrize("shape", [(6, 64, 2), (6, 32, 32, 3), (6, 9, 9, 9, 1)])
def test_every_kind_of_sample_is_changed_and_the_seed_repeats_it(shape, rng):
    x = rng.normal(size=shape)
    y = mirrored(x)
    assert np.mean(x != y) > 0.5
    np.testing.assert_array_equal(mirrored(x), y)
    assert np.any(mirrored(x, seed=1) != y)


def test_vectors_are_shuffled_among_the_samples(rng):
    x = rng.normal(size=(20, 5))
    np.testing.assert_array_equal(mirrored(x, seed=2), scrambled(x, seed=2))


def test_pixels_stay_integers():
    assert mirrored(np.zeros((2, 8, 8, 3), "uint8")).dtype == np.uint8
