"""Settings that must be numbers, and what merely reads like one."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_lodin.utils.single_number import several_numbers, single_number


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
