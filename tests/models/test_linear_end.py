"""The dense layer at the end of classifiers, in training and inference mode."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_lodin.models.head import find_head
from keras_lodin.models.linear_end import find_linear_end
from tests import networks


def ending_in(*last, features=4):
    inputs = keras.Input((6,))
    x = layers.Dropout(0.5, seed=1)(layers.Dense(features, activation="tanh")(inputs))
    for layer in last:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    "last",
    [
        [layers.Dense(7)],
        [layers.Dense(7, use_bias=False, activation="softmax")],
        [layers.Dense(7), layers.Softmax()],
    ],
    ids=["logits", "softmax within", "softmax behind"],
)
def test_the_end_gives_logits_of_features(last, rng):
    model = ending_in(*last)
    head = find_head(model)
    end = find_linear_end(head, most_features=4)
    assert end.size == 4
    x = rng.normal(size=(5, 6)).astype("float32")
    logits, features = end.outputs(x, training=False)
    np.testing.assert_allclose(logits, head.logits(x, training=False), atol=1e-6)
    kernel, *bias = last[0].get_weights()
    np.testing.assert_array_equal(end.kernel, kernel)
    logits, features = (ops.convert_to_numpy(one) for one in end.outputs(x, training=True))
    np.testing.assert_allclose(logits, features @ kernel + sum(bias), atol=1e-6)
    assert np.any(features == 0.0)  # what was dropped
    assert find_linear_end(head, most_features=3) is None


@pytest.mark.parametrize(
    "model",
    [
        ending_in(layers.Dense(7), layers.Dropout(0.5)),
        ending_in(layers.Dense(7, activation="relu")),
        ending_in(layers.Reshape((1, 1, 4)), layers.Conv2D(7, 1), layers.Flatten()),
        ending_in(keras.Sequential([keras.Input((4,)), layers.Dense(7)])),
        ending_in(layers.Dense(7), layers.Rescaling(2.0)),
        networks.subclassed(),
    ],
    ids=["dropped", "activation", "convolution", "within", "scaled", "subclassed"],
)
def test_other_ends_are_none(model):
    assert find_linear_end(find_head(model, from_logits=True), most_features=100) is None
