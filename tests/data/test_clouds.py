"""Clouds: smooth noise of the data's shape and range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from scipy import ndimage

from keras_lodin.data.clouds import clouds


@given(shape=array_shapes(min_dims=2, max_dims=5, min_side=1, max_side=9), seed=st.integers(0, 3))
def test_clouds_have_the_shape_dtype_and_range_of_the_data(shape, seed):
    x = np.random.default_rng(0).uniform(-3, 5, shape).astype("float32")
    before = x.copy()
    y = clouds(x, seed=seed)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(x, before)
    assert x.min() <= y.min() <= y.max() <= x.max()


def test_every_image_fills_the_range_and_is_smooth():
    x = np.random.default_rng(0).uniform(0, 255, (40, 64, 48, 3)).astype("float32")
    y = clouds(x)
    np.testing.assert_allclose(y.min(axis=(1, 2, 3)), x.min(), atol=1e-3)
    np.testing.assert_allclose(y.max(axis=(1, 2, 3)), x.max(), atol=1e-3)
    steps = np.abs(np.diff(y, axis=1)).mean(axis=(1, 2, 3))
    assert steps.max() < 60 < np.abs(np.diff(x, axis=1)).mean()
    # Some coarse, some fine.
    assert steps.max() > 3 * steps.min()


def test_the_smoothing_is_a_gaussian_with_ends_joined():
    rng = np.random.default_rng(3)
    y = clouds(np.array([[[0.0]] * 64, [[1.0]] * 64]).reshape(2, 64, 1), np.random.default_rng(3))
    for sample in y:
        width = 64 * 2.0 ** rng.uniform(-6, -2)
        smooth = ndimage.gaussian_filter1d(
            rng.normal(size=(64, 1)), width, axis=0, mode="wrap", truncate=8
        )
        expected = (smooth - smooth.min()) / np.ptp(smooth)
        # What is sampled at steps of one element is not quite a Gaussian where that is narrow.
        np.testing.assert_allclose(sample, expected, atol=1e-2)


@pytest.mark.parametrize("shape", [(6, 10), (6, 64, 2), (6, 32, 32, 3), (6, 9, 9, 9, 1)])
def test_the_seed_repeats_the_clouds(shape, rng):
    x = rng.normal(size=shape)
    np.testing.assert_array_equal(clouds(x), clouds(x))
    assert np.any(clouds(x, seed=1) != clouds(x))


def test_vectors_stay_within_the_range_of_each_feature(rng):
    x = rng.normal(size=(200, 3)) * [1.0, 10.0, 0.0]
    y = clouds(x)
    assert (x.min(axis=0) <= y.min(axis=0)).all()
    assert (y.max(axis=0) <= x.max(axis=0)).all()
    assert (y[:, 2] == 0.0).all()


def test_pixels_stay_integers():
    assert clouds(np.arange(2 * 64, dtype="uint8").reshape(2, 8, 8, 1)).dtype == np.uint8
