"""A batch normalization in one piece against the walk operation by operation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_lodin.gradients import ForwardPass
from keras_lodin.gradients.tensorflow import vjp
from keras_lodin.gradients.tensorflow.graph_walk import operations_between
from keras_lodin.gradients.tensorflow.normalization import normalizations


def network(*options, **more):
    """Two normalizations, between which samples have moved each other already."""
    inputs = keras.Input((6, 6, 2))
    x = inputs
    for _ in range(2):
        x = layers.Conv2D(3, 3, use_bias=False)(x)
        x = layers.BatchNormalization(*options, **more)(x)
        x = layers.Activation("softplus")(x)
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return model


def gradients_and_derivatives(model, cotangents, factors, x):
    """Input gradients, and the derivatives of a sum of their squares."""

    @tf.function(input_signature=[tf.TensorSpec((None, 6, 6, 2))], autograph=False)
    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            forward_pass = ForwardPass(lambda inputs: model(inputs, training=True), x)
            gradients = forward_pass.input_gradients(tf.constant(cotangents))
            total = tf.reduce_sum(tf.constant(factors) * tf.square(gradients))
        weights = [variable.value for variable in model.trainable_variables]
        found = tape.gradient(total, [x, *weights], unconnected_gradients="zero")
        return [gradients, *map(tf.convert_to_tensor, found)]

    return compute(x)


def test_the_gradients_and_their_derivatives_are_those_of_every_operation(rng, monkeypatch):
    model = network(epsilon=0.1)
    x = rng.normal(size=(5, 6, 6, 2)).astype("float32")
    cotangents = rng.normal(size=(3, 5, 4)).astype("float32")
    factors = rng.normal(size=(3, 5, 6, 6, 2)).astype("float32")
    found = gradients_and_derivatives(model, cotangents, factors, x)
    monkeypatch.setattr(vjp, "normalizations", lambda _: {})
    expected = gradients_and_derivatives(model, cotangents, factors, x)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize(
    ("options", "training", "count"),
    [({}, True, 2), ({"scale": False}, True, 0), ({}, False, 0)],
    ids=["training", "without gamma", "inference"],
)
def test_normalizations_of_a_batch_are_found(options, training, count):
    model = network(**options)
    found = []

    @tf.function(input_signature=[tf.TensorSpec((None, 6, 6, 2))], autograph=False)
    def trace(inputs):
        inputs = tf.identity(inputs)
        outputs = model(inputs, training=training)
        found.extend(normalizations(operations_between(inputs, outputs)))
        return outputs

    trace.get_concrete_function()
    assert len(found) == count


def test_one_whose_mean_is_read_again_goes_operation_by_operation():
    with tf.Graph().as_default():
        x = tf.compat.v1.placeholder(tf.float32, (None, 6, 6, 2))
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        ones = tf.ones(2)
        y = tf.nn.batch_normalization(x, mean, variance, ones, ones, 1e-3)
        assert len(normalizations(operations_between(x, y))) == 1
        assert not normalizations(operations_between(x, y + mean))
