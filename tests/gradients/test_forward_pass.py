"""Input gradients against TensorFlow's own, and what `ForwardPass` promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_lodin.gradients import ForwardPass
from tests import networks

ARCHITECTURES = pytest.mark.parametrize(
    ("make", "shape"),
    [
        (networks.convolutional, (8, 8, 1)),
        (networks.dense, (10,)),
        (networks.residual, (6, 6, 2)),
        (networks.series, (20, 3)),
    ],
)


def make_pass(model, x):
    return ForwardPass(lambda inputs: model(inputs, training=False), x)


def jacobian(model, x):
    """d f_j / d x by TensorFlow's `batch_jacobian`: (batch, classes, input values)."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = model(x, training=False)
    return tape.batch_jacobian(logits, x).numpy().reshape(*logits.shape, -1)


@ARCHITECTURES
def test_input_gradient_is_the_cotangent_times_the_jacobian(make, shape, rng):
    model = make(shape=shape)
    x = rng.uniform(size=(5, *shape)).astype("float32")
    cotangent = rng.normal(size=(5, networks.CLASSES)).astype("float32")
    forward_pass = make_pass(model, x)
    gradient = ops.convert_to_numpy(forward_pass.input_gradient(cotangent))
    expected = np.einsum("bj,bji->bi", cotangent, jacobian(model, x)).reshape(x.shape)
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(forward_pass.logits, model(x), atol=1e-6)
    np.testing.assert_allclose(forward_pass.logits_at(x + 0.1), model(x + 0.1), atol=1e-6)


@ARCHITECTURES
def test_several_gradients_at_once_equal_one_after_the_other(make, shape, rng):
    forward_pass = make_pass(make(shape=shape), rng.uniform(size=(3, *shape)).astype("float32"))
    cotangents = rng.normal(size=(4, 3, networks.CLASSES)).astype("float32")
    together = forward_pass.input_gradients(cotangents)
    assert together.shape == (4, 3, *shape)
    for cotangent, gradient in zip(cotangents, together, strict=True):
        np.testing.assert_allclose(
            gradient, forward_pass.input_gradient(cotangent), rtol=1e-4, atol=1e-6
        )


def test_a_samples_gradient_does_not_depend_on_its_batch(classifier, images):
    cotangents = np.ones((12, networks.CLASSES), "float32") * np.arange(7, dtype="float32")
    together = make_pass(classifier, images).input_gradient(cotangents)
    alone = make_pass(classifier, images[4:5]).input_gradient(cotangents[4:5])
    np.testing.assert_allclose(together[4:5], alone, rtol=1e-5, atol=1e-7)


def test_integers_are_cast_and_half_precision_is_kept(classifier):
    cotangent = np.ones((2, networks.CLASSES), "float32")
    pixels = make_pass(classifier, np.ones((2, 8, 8, 1), "uint8"))
    assert pixels.inputs.dtype == tf.float32
    half = make_pass(classifier, np.ones((2, 8, 8, 1), "float16"))
    assert half.inputs.dtype == tf.float16
    for forward_pass in (pixels, half):
        assert forward_pass.logits.dtype == tf.float32
        assert forward_pass.input_gradient(cotangent).dtype == tf.float32


def test_an_outer_tape_sees_the_weights_through_the_input_gradient(classifier, images):
    with tf.GradientTape() as tape:
        gradient = make_pass(classifier, images).input_gradient(
            np.eye(networks.CLASSES, dtype="float32")[np.zeros(12, int)]
        )
        size = tf.reduce_sum(gradient**2)
    kernel = classifier.layers[-1].kernel
    assert np.any(tape.gradient(size, kernel.value).numpy() != 0.0)


def test_forward_passes_run_inside_a_compiled_graph(classifier, images):
    cotangent = np.ones((12, networks.CLASSES), "float32")
    compiled = tf.function(
        lambda x: make_pass(classifier, x).input_gradient(cotangent), autograph=False
    )
    np.testing.assert_allclose(
        compiled(images),
        make_pass(classifier, images).input_gradient(cotangent),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "block",
    [ops.stop_gradient, lambda x: ops.cast(ops.cast(x, "int32"), "float32")],
    ids=["detached", "integers"],
)
def test_logits_without_a_gradient_are_refused_with_the_reason(block, images):
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(block(inputs))))
    message = r"no gradient with respect to its inputs.*Received: inputs of shape \(12, 8, 8, 1\)"
    with pytest.raises(ValueError, match=message):
        make_pass(model, images).input_gradient(np.ones((12, 3), "float32"))
