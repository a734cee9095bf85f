"""What data say of the range of a classifier's inputs."""

import warnings

import numpy as np
import pytest

from keras_lodin import data
from keras_lodin.data.observed_range import ObservedRange, settle, warn_of_small_values
from keras_lodin.data.value_range import InputRange

IMAGE = (4, 4, 3)
ASSUMED = InputRange(0.0, 1.0, "assumed")


def images(low, high, dtype="float32"):
    return np.linspace(low, high, 6 * 48).reshape(6, *IMAGE).astype(dtype)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "expected"),
    [
        (0, 1, "float32", (0, 1)),
        (0.1, 0.8, "float32", (0, 1)),
        (0, 255, "float32", (0, 255)),
        (3, 200, "float32", (0, 255)),
        (0, 255, "uint8", (0, 255)),
        (0, 90, "uint8", (0, 255)),
        (-1, 1, "float32", (-1, 1)),
        (-0.9, 0.9, "float16", (-1, 1)),
        (0, 16, "float32", (0, 16)),
        (-2.0, 2.5, "float32", (-2.0, 2.5)),
        (-100, 150, "float32", (-100, 150)),
        (0, 1023, "float32", (0, 1023)),
    ],
)
def test_images_settle_the_range_that_was_assumed(low, high, dtype, expected):
    found = settle(ASSUMED, images(low, high, dtype), IMAGE, batch_size=4)
    assert found.origin == "data"
    assert found.bounds == expected


def test_what_is_known_already_stays():
    known = InputRange(0.0, 255.0, "given")
    assert settle(known, images(0, 1), IMAGE, 4) is known


def test_data_that_do_not_differ_or_were_brought_to_the_range_show_nothing():
    assert settle(ASSUMED, np.zeros((3, *IMAGE)), IMAGE, 4) is ASSUMED
    digits = data.load("digits:0-1", part="test")
    assert settle(ASSUMED, digits, (8, 8, 1), 32) is ASSUMED
    pixels = data.load("digits:0-1", part="test", input_range=(0, 255))
    assert settle(ASSUMED, pixels, (8, 8, 1), 32).bounds == (0.0, 255.0)


def test_vectors_have_a_range_for_each_feature(rng):
    x = (rng.normal(size=(50, 4)) * [1.0, 1e3, 1e-3, 0.0] + [0.0, 5.0, 0.0, 7.0]).astype("float32")
    for batch_size in (1, 7, 50):
        found = settle(ASSUMED, x, (4,), batch_size)
        np.testing.assert_array_equal(found.bounds, (x.min(axis=0), x.max(axis=0)))
    assert found.per_feature
    assert not found.is_limit


def test_numbers_of_a_file_are_seen_as_they_are(tmp_path, rng):
    x = rng.normal(size=(12, 3)).astype("float32") * 40
    np.savez(tmp_path / "table.npz", x=x)
    source = data.load(f"npz:{tmp_path / 'table.npz'}", part="test", image_shape=(3,))
    np.testing.assert_array_equal(settle(ASSUMED, source, (3,), 5).low, x.min(axis=0))


@pytest.mark.parametrize(
    ("bounds", "values", "noticed"),
    [
        ((0, 255), (0, 1), True),
        ((0, 255), (0, 0.5), True),
        ((0, 255), (0.2, 0.9), True),
        ((0, 1), (0, 1 / 255), True),
        ((-1, 1), (0, 1 / 255), True),
        ((0, 65535), (0, 255), True),
        ((0, 255), (0, 2), False),
        ((0, 255), (0, 255), False),
        ((0, 1), (0, 0.01), False),
        ((0, 255), (7, 7), False),
    ],
)
def test_data_that_fill_a_255th_of_the_range_are_noticed(bounds, values, noticed):
    observed = ObservedRange(IMAGE)
    for batch in np.array_split(images(*values), 3):
        observed.update(batch)
    known = InputRange(*map(float, bounds), "given")
    if noticed:
        with pytest.warns(UserWarning, match=r"fill only 1/\d+ of the range.*Received: values fro"):
            warn_of_small_values(observed, known)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_small_values(observed, known)


def test_one_bright_batch_is_enough_to_fill_the_range():
    observed = ObservedRange(IMAGE)
    for batch in (images(0, 1), images(0, 1), images(0, 200)):
        observed.update(batch)
    assert observed.fill(InputRange(0.0, 255.0, "given")) == pytest.approx(200 / 255)
