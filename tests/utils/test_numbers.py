"""Numbers that a user gives, and what merely reads like one."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_lodin.utils.numbers import (
    check_seed,
    check_whole,
    checked_number,
    several_numbers,
    single_number,
)


@pytest.mark.parametrize(
    "value",
    [
        2,
        2.0,
        np.float16(2),
        np.float32(2),
        np.int64(2),
        np.array(2.0),
        tf.constant(2.0),
        tf.Variable(2),
    ],
)
def test_a_number_of_any_library_is_taken(value):
    assert single_number(value) == 2.0
    assert several_numbers([value, 1]) == (2.0, 1.0)


@pytest.mark.parametrize(
    "value",
    [
        "2",
        b"2",
        True,
        np.bool_(True),
        None,
        [2.0],
        (2.0,),
        np.array([2.0]),
        [[1], [2, 3]],
        2j,
        np.array("2"),
        np.datetime64("2026-01-01"),
        {"value": 2.0},
        object(),
        float,
    ],
)
def test_what_is_no_number_is_none(value):
    assert single_number(value) is None
    assert several_numbers([1.0, value]) is None


@given(st.floats(width=32))
def test_what_float32_holds_stays_as_it_is(value):
    assert single_number(value) == value or np.isnan(value)


@pytest.mark.parametrize(
    ("value", "used"), [(1e39, np.inf), (-1e39, -np.inf), (1e-60, 0.0), (10**400, None)]
)
def test_what_float32_does_not_hold_is_what_would_be_used(value, used):
    assert single_number(value) == used


def test_several_numbers_come_in_many_forms():
    for values in ([1, 2.5], (1, 2.5), np.array([1, 2.5]), tf.constant([1, 2.5]), iter([1, 2.5])):
        assert several_numbers(values) in ((1.0, 2.5), None)
    assert several_numbers(3) == (3.0,)
    assert several_numbers("12") is None
    assert several_numbers([]) == ()


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
