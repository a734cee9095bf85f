"""The value that says what a classifier's inputs range over, and how that is known."""

import numpy as np
import pytest

from keras_lodin.data.value_range import InputRange, check_in_range, checked_input_range

ORIGINS = ("given", "classifier", "data", "assumed", "unknown")


@pytest.mark.parametrize("origin", ORIGINS)
def test_three_answers_known_assumed_and_unknown(origin):
    found = InputRange(0.0, 1.0, origin)
    assert found.known == (origin in ("given", "classifier", "data"))
    assert found.bounds == (0.0, 1.0)
    assert str(found) == "from 0 to 1"


def test_another_origin_is_refused():
    with pytest.raises(ValueError, match=r"`origin` must be one of.*Received: origin='guessed'"):
        InputRange(0.0, 1.0, "guessed")


@pytest.mark.parametrize("given", [(0, 255), [0, 255], np.array([0, 255]), (0.0, np.float32(255))])
def test_two_numbers_are_two_floats(given):
    assert checked_input_range(given) == (0.0, 255.0)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ((np.zeros(5), np.ones(5)), (5,)),
        ((0, np.arange(1, 6)), (5,)),
        (([0, 0, 0], [1, 1, 1]), (8, 8, 3)),
        ((np.zeros((8, 8, 1)), 1), (8, 8, 3)),
        ((np.zeros(3), np.array([1.0, 0.0, 2.0])), (3,)),  # one is constant
        ((np.zeros(3), np.ones(3)), (None, 3)),
        ((np.zeros((4, 1)), np.ones((4, 1))), (4, 7)),
        ((np.float64([-1e3, 0.0]), np.float64([1e-3, 1e6])), (2,)),
    ],
)
def test_arrays_have_a_number_for_each_feature(given, shape):
    low, high = checked_input_range(given, shape)
    assert low.dtype == high.dtype == np.float32
    np.testing.assert_array_equal(low, np.broadcast_to(np.float32(given[0]), low.shape))
    np.testing.assert_array_equal(high, np.broadcast_to(np.float32(given[1]), low.shape))
    again = checked_input_range(InputRange(low, high, "data").to_json(), shape)
    np.testing.assert_array_equal(again, (low, high))


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ((np.zeros(4), np.ones(4)), (5,)),
        ((np.zeros((2, 5)), np.ones((2, 5))), (5,)),
        ((np.zeros(5), np.ones(4)), (5,)),
        ((np.ones(5), np.zeros(5)), (5,)),
        ((np.zeros(5), np.zeros(5)), (5,)),
        ((np.zeros(5), np.full(5, np.nan)), (5,)),
        ((np.zeros(5), np.full(5, 1e39)), (5,)),
        ((np.zeros(3), ["a", "b", "c"]), (3,)),
        ((np.zeros(3), np.ones(3)), (3, None)),
        ((np.zeros(3) * 1j, np.ones(3)), (3,)),
    ],
)
def test_arrays_that_are_no_range_are_refused(given, shape):
    with pytest.raises(ValueError, match=r"`input_range` (must be|of arrays must).*Received: inp"):
        checked_input_range(given, shape)


@pytest.mark.parametrize(
    ("found", "is_limit"),
    [
        (InputRange(0.0, 1.0, "given"), True),
        (InputRange(0.0, 255.0, "classifier"), True),
        (InputRange(0.0, 255.0, "data"), True),
        (InputRange(-1.0, 1.0, "data"), True),
        (InputRange(0.0, 1.0, "assumed"), True),
        (InputRange(-2.1, 2.6, "data"), False),
        (InputRange(np.zeros(2, "float32"), np.ones(2, "float32"), "data"), False),
        (InputRange(np.zeros(2, "float32"), np.ones(2, "float32"), "given"), False),
    ],
)
def test_only_ranges_that_are_limits_refuse_inputs_outside(found, is_limit):
    assert found.is_limit == is_limit
    if is_limit:
        with pytest.raises(ValueError, match=r"must lie in the.*Received: values from -300 to 300"):
            check_in_range(np.array([[-300.0, 300.0]]), found)
    else:
        check_in_range(np.array([[-300.0, 300.0]]), found)
