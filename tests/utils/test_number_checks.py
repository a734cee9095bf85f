"""Numbers that a user gives."""

import math

import numpy as np
import pytest

from keras_lodin.utils.number_checks import check_seed, check_whole, checked_number


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, "1", None, 1j, [1.0], True, 10**400, np.array([1.0])]
)
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(ValueError, match=r"`weight` must be a number. Received: weight="):
        checked_number("weight", value, lambda number: True, "a number")


@pytest.mark.parametrize("value", [0, 1.5, -2, np.float32(0.5), np.int64(3), np.float64(-0.0)])
def test_numbers_of_every_type_are_taken(value):
    checked = checked_number("weight", value, lambda number: True, "a number")
    assert checked == value
    assert type(checked) is float


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, "2", None, True, math.nan, 2**31, 10**20])
def test_counts_are_whole_numbers_above_zero(value):
    with pytest.raises(ValueError, match=r"`epochs` must be 1 or more.*Received: epochs="):
        check_whole("epochs", value, "1 or more")


def test_counts_have_an_end_that_is_named():
    check_whole("resamples", np.int64(1000), "at least 1", most=1000)
    with pytest.raises(ValueError, match=r"at least 1, and 1000 at most. Received: resamples=1001"):
        check_whole("resamples", 1001, "at least 1", most=1000)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, 1.0, "0", None, True, math.nan])
def test_seeds_are_what_every_library_takes(seed):
    with pytest.raises(ValueError, match=r"from 0 to 4294967295. Received: seed="):
        check_seed(seed)
    check_seed(0), check_seed(2**32 - 1), check_seed(np.int64(7))
