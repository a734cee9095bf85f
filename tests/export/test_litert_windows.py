"""Tensors on grounds of other sizes, as windows need them."""

import numpy as np
import pytest
import tensorflow as tf

from keras_lodin.export.litert.windows import placed


# Some of the tensor always lies on the ground.
@pytest.mark.parametrize(
    ("at", "size"), [(at, size) for size in (1, 3, 8) for at in range(-4, size)]
)
def test_a_placed_tensor_keeps_what_lies_on_the_ground(at, size):
    x = np.arange(1.0, 6.0)
    expected = np.zeros(size)
    for place, value in enumerate(x, start=at):
        if 0 <= place < size:
            expected[place] = value
    found = placed(tf.constant(np.stack([x, 2 * x])), {1: (at, size)}, 0.0)
    np.testing.assert_array_equal(found, [expected, 2 * expected])
