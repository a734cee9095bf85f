"""How many labels a classifier knows, and whether that is more than chance."""

import numpy as np
import pytest
from scipy.stats import binomtest

from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.data.value_range import InputRange
from keras_lodin.evaluation.accuracy import Accuracy, is_chance


@pytest.mark.parametrize(
    ("correct", "count", "classes", "expected"),
    [
        (10, 30, 3, True),
        (0, 30, 3, True),
        (14, 30, 3, True),  # so many or more with 9 %
        (15, 30, 3, False),
        (25, 30, 3, False),
        (5, 100, 10, True),
        (30, 100, 10, False),
        (500, 1000, 2, True),
        (560, 1000, 2, False),
        (1, 1000, 1000, True),
        (60, 50000, 1000, True),
        (40000, 50000, 1000, False),
        (9, 9, 2, False),
        (0, 9, 2, False),  # too few to tell
        (0, 0, 2, False),
    ],
)
def test_what_cannot_be_told_from_guesses_is_chance(correct, count, classes, expected):
    assert is_chance(correct, count, classes) == expected
    if count >= 10:
        test = binomtest(correct, count, 1 / classes, alternative="greater")
        assert expected == (test.pvalue > 0.05)


@pytest.mark.parametrize(
    ("input_range", "reason"),
    [
        (InputRange(0.0, 1.0, "assumed"), r"were assumed to be from 0 to 1.*--input-range LO HI"),
        (InputRange(0.0, 1.0, "unknown"), r"were assumed to be from 0 to 1.*--input-range LO HI"),
        (InputRange(0.0, 255.0, "given"), r"taken to be from 0 to 255; if that is right"),
        (InputRange(0.0, 255.0, "classifier"), r"as its first layers show; if that is right"),
        (InputRange(0.0, 16.0, "data"), r"from 0 to 16, as its data show; if that is right"),
    ],
)
def test_the_warning_has_the_likeliest_reason(input_range, reason):
    accuracy = Accuracy(LabelPlaces(3, None, np.zeros(30)))
    for _ in range(3):
        accuracy.update(np.arange(10) % 3, np.zeros(10, int))
    assert accuracy.value == pytest.approx(12 / 30)
    message = rf"'net' predicts 12 of 30 labels of the data, no better than chance.*{reason}"
    with pytest.warns(UserWarning, match=message):
        accuracy.warn_of_chance(input_range, "'net'")


def test_without_labels_there_is_no_accuracy():
    accuracy = Accuracy(LabelPlaces(3, None, np.zeros(30)))
    accuracy.update(np.arange(10) % 3, None)
    assert accuracy.value is None
    accuracy.warn_of_chance(InputRange(0.0, 1.0, "assumed"))


@pytest.mark.parametrize(("count", "classes"), [(10, 2), (12, 3), (40, 10)])
def test_chance_is_what_the_binomial_test_calls_so_at_every_count(count, classes):
    for correct in range(count + 1):
        test = binomtest(correct, count, 1 / classes, alternative="greater")
        assert is_chance(correct, count, classes) == (test.pvalue > 0.05)
