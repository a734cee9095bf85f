from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from keras_lodin import data


def read(specification, part, **options):
    source = data.load(specification, part=part, **options)
    batches = list(source.batches(500))
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def rows(images):
    return sorted(image.tobytes() for image in images)


def test_parts_are_disjoint_and_cover_all_digits():
    parts = [read("digits", part)[0] for part in ("train", "calibration", "test")]

    assert [len(part) for part in parts] == [1078, 359, 360]
    # As multisets: scikit-learn's digits hold no two equal images.
    everything = rows(np.concatenate(parts))
    assert len(set(everything)) == 1797
    assert everything == rows(read("digits", "all")[0])


def test_every_part_holds_its_share_of_every_class():
    total = np.bincount(read("digits", "all")[1])

    for part, share in (("train", 0.6), ("calibration", 0.2), ("test", 0.2)):
        assert np.abs(np.bincount(read("digits", part)[1]) - share * total).max() <= 1


def test_chosen_classes_are_a_part_of_the_whole_part():
    chosen, labels = read("digits:3,7", "calibration")
    images, digits = read("digits", "calibration")

    np.testing.assert_array_equal(chosen, images[np.isin(digits, [3, 7])])
    np.testing.assert_array_equal(labels, digits[np.isin(digits, [3, 7])] == 7)


def test_labels_count_from_zero_and_names_are_the_digits():
    source = data.load("digits:7-9", part="test")

    assert source.class_names == ("7", "8", "9")
    assert set(read("digits:7-9", "test")[1].tolist()) == {0, 1, 2}


def test_pixels_are_those_of_scikit_learn():
    images, digits = load_digits(return_X_y=True)

    x, y = read("digits", "all", input_range=(0, 16))

    np.testing.assert_array_equal(x.reshape(-1, 64), images)
    np.testing.assert_array_equal(y, digits)
