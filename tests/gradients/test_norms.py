"""Norms a chunk at a time against norms all at once, against norms of TensorFlow's gradients."""

import functools
import re
import sys

import hypothesis.extra.numpy as npst
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_lodin.gradients import ForwardPass
from keras_lodin.gradients.norms import gradient_norms, norms
from keras_lodin.quotient import forms
from tests import networks
from tests.dear import fewer_examples
from tests.gradients.tensorflow.graph_networks import assert_close, moving_moments, trainable
from tests.gradients.tensorflow.linear_pass import size
from tests.processes import run_python

BATCH = 3
# Gradients of some classes, samples and pixels. TensorFlow takes what is below 1e-38 for zero.
jacobians = npst.arrays(
    "float32",
    st.tuples(st.integers(3, 6), st.integers(1, 4), st.integers(1, 5)),
    elements=st.floats(-8, 8, width=32, allow_subnormal=False),
)


@fewer_examples
@given(jacobians, st.sampled_from([1e-30, 1.0, 1e30]), st.sampled_from(["l1", "l2"]))
def test_norms_are_those_of_float64_at_any_scale(jacobian, scale, norm):
    gradients = jacobian.astype("float32") * np.float32(scale)
    folded = gradients.reshape(*gradients.shape[:2], 1, -1)  # over every axis after the second
    found = ops.convert_to_numpy(norms(tf.constant(folded), norm))
    expected = size(gradients.astype("float64"), norm)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-36)


@fewer_examples
@given(jacobians)
def test_the_derivative_of_l2_is_the_unit_vector(jacobian):
    # Half of the smallest float32 is 0 to a processor that flushes what is below it.
    jacobian = np.where(np.abs(jacobian) < 1e-30, np.float32(0), jacobian)
    gradients = tf.constant(jacobian)
    with tf.GradientTape() as tape:
        tape.watch(gradients)
        total = tf.reduce_sum(norms(gradients, "l2"))
    exact = jacobian.astype("float64")
    length = size(exact, "l2")[..., None]
    np.testing.assert_allclose(
        tape.gradient(total, gradients), exact / np.where(length > 0.0, length, 1.0), atol=1e-5
    )


def norms_and_derivatives(model, chunk_size, norm="l1", weighted=True, training=True):
    """A function of x: norms, total norm and the derivatives of both by weights and input."""

    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            forward_pass = ForwardPass(lambda inputs: model(inputs, training=training), x)
            logits = forward_pass.logits
            classes = tf.transpose(forms.other_classes(logits))
            # Cotangents and weights depend on the network too.
            cotangents = forms.softmax_cotangents(logits, classes)
            weights = forms.softmax_weights(logits, classes) if weighted else None
            found, total = gradient_norms(forward_pass, cotangents, norm, weights, chunk_size)
            assert found.shape[0] == networks.CLASSES - 1
            assert (total is None) != weighted
            total = tf.zeros((1,)) if total is None else total
            factors = 1.0 + tf.range(networks.CLASSES - 1, dtype="float32")
            loss = tf.reduce_sum(factors[:, None] * found**2) + 3.0 * tf.reduce_sum(total**2)
        derivatives = tape.gradient(loss, [x, *trainable(model)], unconnected_gradients="zero")
        return found, total, [tf.convert_to_tensor(value) for value in derivatives]

    return compute


def run(model, x, chunk_size, free_batch=False, **options):
    """In graph mode, the network's statistics as they were afterwards."""
    shape = (None, *x.shape[1:]) if free_batch else x.shape
    compute = tf.function(
        norms_and_derivatives(model, chunk_size, **options),
        input_signature=[tf.TensorSpec(shape, tf.float32)],
        autograph=False,
    )
    before = model.get_weights()
    results = compute(x)
    model.set_weights(before)
    return results


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return networks.convolutional(normalization=True, activation="tanh")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(BATCH, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module")
def whole(network, x):
    """The results without chunks, of each kind once."""
    return functools.cache(functools.partial(run, network, x, None))


@pytest.mark.grid(10)
@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "unweighted"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("chunk_size", [1, 2, 4, 5, 6, 9])
def test_chunks_change_neither_the_norms_nor_their_derivatives(
    chunk_size, norm, weighted, network, x, whole
):
    expected = whole(norm=norm, weighted=weighted, training=True)
    assert_close(run(network, x, chunk_size, norm=norm, weighted=weighted), expected)
    assert all(np.any(derivative) for derivative in expected[2][:3])


@pytest.mark.grid(6)
@pytest.mark.parametrize("chunk_size", [None, 4])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_a_free_batch_size_changes_nothing(chunk_size, training, network, x, whole):
    assert_close(
        run(network, x, chunk_size, free_batch=True, training=training),
        whole(norm="l1", weighted=True, training=training),
    )


@pytest.mark.slow
@pytest.mark.grid(2)
@pytest.mark.parametrize("make", [networks.residual, networks.dense])
def test_other_networks_agree_in_chunks(make, rng):
    model = make(normalization=True)
    x = rng.normal(size=(BATCH, *model.input_shape[1:])).astype("float32")
    assert_close(run(model, x, 4, free_batch=True), run(model, x, None))


@pytest.mark.grid(6)
@pytest.mark.parametrize("chunk_size", [None, 2, 4])
def test_eager_mode_gives_the_same(chunk_size, network, x, whole):
    before = network.get_weights()
    with moving_moments():  # in eager mode all is TensorFlow's tape
        eager = norms_and_derivatives(network, chunk_size)(tf.constant(x))
    network.set_weights(before)
    assert_close(eager, whole(norm="l1", weighted=True, training=True))


@pytest.mark.grid(10)
@pytest.mark.parametrize("chunk_size", [None, 2, 4])
@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2)])
def test_norms_are_those_of_tensorflows_jacobian(chunk_size, norm, order, network, x, rng):
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        logits = network(inputs, training=False)
    jacobian = tape.batch_jacobian(logits, inputs).numpy().reshape(BATCH, networks.CLASSES, -1)
    cotangents = rng.normal(size=(5, BATCH, networks.CLASSES)).astype("float32")
    weights = rng.uniform(size=(5, BATCH)).astype("float32")

    @tf.function(autograph=False)
    def compute(x):
        forward_pass = ForwardPass(lambda inputs: network(inputs, training=False), x)
        return gradient_norms(
            forward_pass, tf.constant(cotangents), norm, tf.constant(weights), chunk_size
        )

    gradients = np.einsum("kbn,bnp->kbp", cotangents, jacobian)
    found, total = compute(inputs)
    np.testing.assert_allclose(found, np.linalg.norm(gradients, order, axis=-1), rtol=1e-4)
    summed = np.einsum("kb,kbp->bp", weights, gradients)
    np.testing.assert_allclose(total, np.linalg.norm(summed, order, axis=-1), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of peak memory")
def test_chunks_bound_the_memory_of_a_training_step():
    script = """
import pathlib, re
import keras, numpy as np
from keras import layers
import keras_lodin

def peak():  # of this process alone, in MB
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024

def step(**options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((24, 24, 3))
    x = layers.Conv2D(32, 3, padding="same", activation="tanh")(inputs)
    x = layers.Conv2D(32, 3, padding="same", activation="tanh")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras_lodin.GQModel(keras.Model(inputs, layers.Dense(40)(x)), **options)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(images, labels)
    return peak()

rng = np.random.default_rng(0)
images = rng.uniform(size=(8, 24, 24, 3)).astype("float32")
labels = rng.integers(0, 40, size=8)
print("peaks", step(gq_weight=0.0), step(chunk_size=2), step())
"""
    found = re.search(r"peaks (\S+) (\S+) (\S+)", run_python(script))
    plain, chunked, whole = map(float, found.groups())
    assert whole - plain > 100.0
    assert chunked - plain < 0.5 * (whole - plain)
