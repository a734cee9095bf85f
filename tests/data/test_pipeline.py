from __future__ import annotations

import numpy as np
import pytest

from keras_lodin.data.augmentation import crop_and_flip, draw_crop_and_flip
from keras_lodin.data.pipeline import pixel_transform, resolve_shapes, to_channels


@pytest.fixture
def transform(reader):
    def transform(pixels, image_shape=None, input_range=(0.0, 1.0)):
        shapes = resolve_shapes("test", pixels.shape, image_shape)
        return np.asarray(pixel_transform(reader, shapes, input_range)(reader.stored(pixels)))

    return transform


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)


def test_pixels_of_the_right_shape_are_kept_exactly_on_0_to_255(pixels, transform):
    result = transform(pixels, input_range=(0.0, 255.0))

    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.parametrize("input_range", [(0.0, 1.0), (-1.0, 1.0), (-2.5, 7.0)])
def test_range_is_mapped_linearly(pixels, input_range, transform):
    low, high = input_range

    result = transform(pixels, input_range=input_range)

    np.testing.assert_allclose(result, low + pixels / 255 * (high - low), atol=1e-6)
    assert low <= result.min() <= result.max() <= high


def test_grey_becomes_rgb_with_three_equal_channels(pixels, transform):
    grey = pixels[:, :, :1]

    result = transform(grey, (8, 6, 3), (0.0, 255.0))

    np.testing.assert_array_equal(result, np.repeat(grey, 3, axis=2))


def test_rgb_becomes_grey_by_its_luma(pixels, transform):
    result = transform(pixels, (8, 6, 1), (0.0, 255.0))

    expected = pixels @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(result[:, :, 0], expected, atol=0.05)


@pytest.mark.parametrize("stored", [2, 4])
def test_alpha_is_ignored(stored, reader, rng):
    image = reader.stored(rng.uniform(size=(3, 3, stored)).astype("float32"))

    np.testing.assert_array_equal(to_channels(reader, image, stored - 1), image[:, :, :-1])


def test_shrinking_averages_instead_of_skipping_pixels(transform):
    stripes = np.zeros((16, 16, 1), np.uint8)
    stripes[::2] = 255

    result = transform(stripes, (4, 4, 1))

    np.testing.assert_allclose(result[1:-1], 0.5, atol=0.05)


def test_unknown_dimensions_keep_the_natural_size(pixels, transform):
    assert transform(pixels, (None, None, 1)).shape == (8, 6, 1)
    assert transform(pixels, (4, None, None)).shape == (4, 6, 3)


def test_image_is_flattened_for_a_classifier_of_vectors(pixels, transform):
    result = transform(pixels, (144,), (0.0, 255.0))

    np.testing.assert_array_equal(result, pixels.reshape(-1))


@pytest.mark.parametrize(
    ("image_shape", "message"),
    [
        ((8, 6, 5), "1 .grey. or 3 .RGB., channels last, but the classifier takes 5"),
        ((3, 32, 32), "channels last, but the classifier takes 32"),
        ((100,), "144 values, which do not fit"),
        ((None, 18), "do not fit"),
    ],
)
def test_shape_out_of_reach_is_refused(image_shape, message):
    with pytest.raises(ValueError, match=message):
        resolve_shapes("digits", (8, 6, 3), image_shape)


def cropped(reader, image, seed, fill):
    drawn = draw_crop_and_flip(reader, reader.pair(0, seed))
    return np.asarray(crop_and_flip(reader, image, drawn, fill))


def test_crop_and_flip_shifts_by_at_most_four_pixels_and_fills_with_black(pixels, reader):
    image = reader.stored(pixels.astype("float32") + 1)
    padded = np.pad(image, [(4, 4), (4, 4), (0, 0)], constant_values=-1)
    crops = {
        crop.tobytes()
        for flipped in (padded, padded[:, ::-1])
        for top in range(9)
        for left in range(9)
        for crop in [np.ascontiguousarray(flipped[top : top + 8, left : left + 6])]
    }

    results = [cropped(reader, image, seed, -1.0) for seed in range(30)]

    assert all(result.tobytes() in crops for result in results)
    assert len({result.tobytes() for result in results}) > 10


def test_augmentation_is_a_pure_function_of_its_seed(pixels, reader):
    image = reader.stored(pixels.astype("float32"))

    np.testing.assert_array_equal(cropped(reader, image, 3, 0.0), cropped(reader, image, 3, 0.0))
