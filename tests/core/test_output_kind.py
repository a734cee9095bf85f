"""What a classifier's outputs are, told by its end on every backend."""

import keras
import pytest
from keras import layers, ops

from keras_lodin.gradients import is_unbounded
from keras_lodin.models.output_kind import made_inputs
from tests.core import networks

UNBOUNDED = {
    "dense": layers.Dense(3),
    "dense without an offset": layers.Dense(3, use_bias=False),
    "product over an axis amid others": layers.EinsumDense("abc,cd->abd", (4, 3), bias_axes="d"),
    "convolution": layers.Conv1D(3, 1),
    **{
        name: layers.Activation(name)
        for name in ("relu", "leaky_relu", "elu", "selu", "softplus", "exponential")
    },
    "square": layers.Lambda(ops.square),
    "absolute value": layers.Lambda(ops.abs),
}
BOUNDED = {
    **{name: layers.Activation(name) for name in ("sigmoid", "hard_sigmoid", "softmax", "tanh")},
    "clipped": layers.Lambda(lambda x: ops.clip(x, 0.0, 1.0)),
    "sigmoids of another type": layers.Lambda(lambda x: ops.cast(ops.sigmoid(x), "float16")),
}


@pytest.mark.parametrize("end", [*UNBOUNDED, *BOUNDED])
def test_an_end_without_an_upper_end_is_told_from_one_that_has_one(end):
    inputs = keras.Input((4, 2))
    model = keras.Model(inputs, {**UNBOUNDED, **BOUNDED}[end](layers.Dense(3)(inputs)))
    values = made_inputs((None, 4, 2), "float32")
    assert is_unbounded(networks.drawn(model), values) == (end in UNBOUNDED)
