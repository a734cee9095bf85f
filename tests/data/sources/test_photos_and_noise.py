from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from keras_lodin import data


def read(specification, **options):
    source = data.load(specification, **{"part": "test", **options})
    return np.concatenate([x for (x,) in source.batches(100)])


def patches_within(patches, photos):
    """Whether every patch is found somewhere in one of the photos."""
    return all(
        any(is_within(patch[:, :, 0], photo[:, :, 0]) for photo in photos) for patch in patches
    )


def is_within(patch, photo):
    windows = np.lib.stride_tricks.sliding_window_view(photo, patch.shape)
    begun = (windows[:, :, 0] == patch[0]).all(axis=2)
    return (windows[begun] == patch).all(axis=(1, 2)).any()


@pytest.mark.grid(3)
@pytest.mark.parametrize(
    ("part", "columns"), [("train", (0, 213)), ("calibration", (213, 426)), ("test", (426, 640))]
)
def test_parts_come_from_disjoint_bands_of_the_photographs(part, columns):
    photos = [photo[:, slice(*columns)] for photo in load_sample_images().images]

    assert patches_within(read("photos:3", part=part, input_range=(0, 255)), photos)


def test_patches_differ_from_each_other_and_between_seeds():
    first, second = read("photos:50"), read("photos:50", seed=1)

    assert first.shape == (50, 64, 64, 3)
    assert len({patch.tobytes() for patch in np.concatenate([first, second])}) > 95
    assert len({patch.tobytes() for patch in first}) == 50


def test_large_patches_are_cut_large_and_small_ones_shrunk():
    assert read("photos:2", image_shape=(224, 200, 3)).shape == (2, 224, 200, 3)
    assert read("photos:2", image_shape=(32, 32, 1)).shape == (2, 32, 32, 1)


def test_more_patches_than_there_are_is_an_error():
    with pytest.raises(ValueError, match=r"different patches of 192 pixels in part 'test'"):
        data.load("photos:999999", part="test", image_shape=(192, 192, 3))


def test_uniform_noise_fills_the_range():
    values = read("noise:uniform:200", image_shape=(10, 10), input_range=(-1, 3))

    assert values.mean() == pytest.approx(1, abs=0.05)
    assert values.std() == pytest.approx(4 / np.sqrt(12), abs=0.05)


def test_gaussian_noise_is_centred_a_quarter_wide_and_clipped():
    values = read("noise:gaussian:200", image_shape=(10, 10), input_range=(-1, 3))

    assert values.mean() == pytest.approx(1, abs=0.05)
    assert (np.abs(values - 1) < 1).mean() == pytest.approx(0.683, abs=0.02)
    assert (np.abs(values - 1) == 2).mean() == pytest.approx(0.0455, abs=0.01)


def test_noise_differs_between_examples_parts_and_seeds():
    draws = [
        read("noise:uniform:5", image_shape=(8,), part=part, seed=seed)
        for part in ("train", "test")
        for seed in (0, 1)
    ]

    assert len(np.unique(np.concatenate(draws), axis=0)) == 20


@pytest.mark.parametrize("image_shape", [None, (None, None, 3)])
def test_noise_needs_a_shape(image_shape):
    with pytest.raises(ValueError, match="Noise has neither labels nor a shape of its own"):
        data.load("noise:uniform", part="test", image_shape=image_shape)
