"""Derivatives along a direction against TensorFlow's `ForwardAccumulator`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_lodin.gradients import ForwardPass
from keras_lodin.gradients.tensorflow.graph_walk import operations_between
from keras_lodin.gradients.tensorflow.jvp import directional_derivative
from tests.gradients.tensorflow import graph_networks
from tests.gradients.tensorflow.graph_networks import assert_close, trainable


def direction_for(x):
    return np.random.default_rng(3).normal(size=x.shape).astype("float32")


def loss_of(derivative):
    """A function of the derivative that is not linear in it."""
    return tf.reduce_sum(tf.sqrt(tf.square(derivative) + 0.1))


def by_the_walk(x, logits_of, direction):
    """The function under test, on the operations of the graph that is being traced."""
    x = tf.identity(x)
    logits = logits_of(x)
    return directional_derivative(operations_between(x, logits), x, logits, direction)


def by_the_pass(x, logits_of, direction):
    return ForwardPass(logits_of, x).directional_derivative(direction)


def by_the_accumulator(x, logits_of, direction):
    forward = tf.autodiff.ForwardAccumulator(x, direction)
    with graph_networks.moving_moments(), forward as accumulator:
        logits = logits_of(x)
    return accumulator.jvp(logits)


def by_two_tapes(x, logits_of, direction):
    """For what `ForwardAccumulator` cannot do: the transpose of the gradient."""
    cotangent = tf.zeros((len(x), graph_networks.CLASSES))
    with tf.GradientTape() as outer:
        outer.watch(cotangent)
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = logits_of(x)
        gradient = tape.gradient(logits, x, output_gradients=cotangent)
    return outer.gradient(gradient, cotangent, output_gradients=direction)


def with_second_order(method, model, training=False):
    """A function of (x, direction): the derivative, and derivatives of a loss of it."""

    def compute(x, direction):
        with tf.GradientTape() as tape:
            tape.watch([x, direction])
            derivative = method(x, lambda inputs: model(inputs, training=training), direction)
            loss = loss_of(derivative)
        second = tape.gradient(
            loss, [x, direction, *trainable(model)], unconnected_gradients="zero"
        )
        return derivative, [tf.convert_to_tensor(value) for value in second]

    return compute


def check(model, x, sizes, expected_of=None, method=by_the_walk, training=False):
    direction = direction_for(x)
    signature = [graph_networks.specification(model, x, sizes)] * 2
    walked = tf.function(
        with_second_order(method, model, training), input_signature=signature, autograph=False
    )
    derivative, second = walked(x, direction)
    expected_of = expected_of or with_second_order(by_the_accumulator, model)
    expected, expected_second = expected_of(tf.constant(x), tf.constant(direction))
    assert_close(derivative, expected)
    assert_close(second, expected_second)


@pytest.mark.grid(48)
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        (name, sizes)
        for name in graph_networks.BLOCKS
        for sizes in ("fixed", "free batch")
        if sizes == "free batch" or name not in graph_networks.ACTIVATIONS
    ],
)
def test_derivatives_along_a_direction_are_those_of_tensorflow(name, sizes):
    check(*graph_networks.make(name), sizes)


@pytest.mark.grid(12)
@pytest.mark.parametrize("name", graph_networks.ANY_SIZE)
def test_sizes_that_only_the_running_graph_knows_change_nothing(name):
    check(*graph_networks.make(name, any_size=True), "free sizes")


def test_bilinear_upsampling_is_linear_in_its_input():
    """`ForwardAccumulator` has no derivative of it."""
    model, x = graph_networks.make("resized")
    found = tf.function(lambda x: by_the_walk(x, model, x), autograph=False)(tf.constant(x))
    assert_close(found, model(x) - model(0.0 * x))


@pytest.mark.grid(9)
@pytest.mark.parametrize("name", [*graph_networks.CALLED, *graph_networks.LOOPS])
def test_a_graph_inside_of_the_graph_changes_nothing(name):
    model, x = graph_networks.make(name)
    check(model, x, "fixed", with_second_order(by_two_tapes, model), by_the_pass)


@pytest.mark.parametrize("beside", [layers.UpSampling2D(2, interpolation="bilinear"), ops.softsign])
def test_beside_a_loop_what_tensorflow_would_leave_out_or_lacks_is_refused(beside):
    inputs = keras.Input((4, 4, 2))
    branches = [beside(inputs), layers.SimpleRNN(3)(layers.Reshape((4, 8))(inputs))]
    outputs = layers.Dense(3)(layers.Concatenate()([layers.Flatten()(one) for one in branches]))
    model, x = keras.Model(inputs, outputs), tf.ones((2, 4, 4, 2))
    with pytest.raises(ValueError, match=r"unroll=True.*Received: operation"):
        tf.function(lambda x: by_the_pass(x, model, x), autograph=False)(x)


def test_what_tensorflow_cannot_transpose_is_refused_without_a_loop_too():
    with pytest.raises(ValueError, match=r"TensorFlow has none of LRNGrad.*Received: operation"):
        tf.function(
            lambda x: by_the_pass(x, tf.nn.local_response_normalization, x), autograph=False
        )(tf.ones((2, 4, 4, 2)))


@pytest.mark.parametrize("name", ["convolution", "layer normalization", "attention"])
def test_eager_mode_gives_the_same(name):
    model, x = graph_networks.make(name)
    direction = tf.constant(direction_for(x))
    found = by_the_pass(tf.constant(x), model, direction)
    assert_close(found, by_the_accumulator(tf.constant(x), model, direction))


@pytest.mark.grid(4)
@pytest.mark.parametrize("sizes", ["fixed", "free batch"])
@pytest.mark.parametrize(
    ("name", "statistics_of"),
    [
        ("batch normalization of the inputs", 0),
        ("batch normalization", 1),
        ("batch normalization without factors", 1),
        ("normalized series", 1),
        ("normalized vector", 1),
    ],
)
def test_statistics_of_the_batch_count_as_constant(name, statistics_of, sizes):
    """So that training equals inference with the batch's own moments, where only v is varied."""
    model, x = graph_networks.make(name)
    twin, _ = graph_networks.make(name)
    before = keras.Model(model.inputs[0], model.layers[statistics_of].output)(x).numpy()
    (normalization,) = (
        layer for layer in twin.layers if isinstance(layer, layers.BatchNormalization)
    )
    axes = tuple(range(before.ndim - 1))
    normalization.moving_mean.assign(before.mean(axes))
    normalization.moving_variance.assign(before.var(axes))
    direction = direction_for(x)

    @tf.function(
        input_signature=[graph_networks.specification(model, x, sizes)] * 2, autograph=False
    )
    def compute(x, direction):
        return by_the_pass(x, lambda inputs: model(inputs, training=True), direction)

    expected = by_the_accumulator(
        tf.constant(x), lambda inputs: twin(inputs, training=False), tf.constant(direction)
    )
    assert_close(compute(x, direction), expected)


def test_the_weights_still_reach_the_derivative_through_the_statistics_of_the_batch():
    """The statistics are constant for the direction, not for an outer tape."""
    model, x = graph_networks.make("normalized vector")
    kernel = model.layers[1].kernel
    direction = direction_for(x)

    @tf.function(autograph=False)
    def loss():
        return loss_of(by_the_pass(x, lambda inputs: model(inputs, training=True), direction))

    @tf.function(autograph=False)
    def slope():
        with tf.GradientTape() as tape:
            value = loss_of(by_the_pass(x, lambda i: model(i, training=True), direction))
        return tape.gradient(value, kernel.value)

    change = np.random.default_rng(4).normal(size=kernel.shape).astype("float32")
    start = kernel.numpy()
    values = []
    for step in (1e-3, -1e-3):
        kernel.assign(start + step * change)
        values.append(float(loss()))
    kernel.assign(start)
    numeric = (values[0] - values[1]) / 2e-3
    assert float(tf.reduce_sum(slope() * change)) == pytest.approx(numeric, rel=2e-3)


def test_dropout_masks_are_those_of_the_forward_pass(rng):
    inputs = keras.Input((50,))
    bias = keras.initializers.RandomNormal(seed=2)
    outputs = layers.Dense(4, bias_initializer=bias)(layers.Dropout(0.5, seed=1)(inputs))
    model = keras.Model(inputs, outputs)
    x = rng.normal(size=(3, 50)).astype("float32")

    @tf.function(autograph=False)
    def compute(x):
        forward_pass = ForwardPass(lambda inputs: model(inputs, training=True), x)
        return forward_pass.logits, forward_pass.directional_derivative(x)

    logits, derivative = compute(x)
    np.testing.assert_allclose(derivative, logits - model.layers[-1].bias, rtol=1e-4, atol=1e-5)
    assert not np.allclose(logits, model(x), atol=0.1)  # something was dropped


def test_half_precision_networks_agree_loosely():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, x = graph_networks.make("batch normalization")
    finally:
        keras.config.set_dtype_policy("float32")
    twin, _ = graph_networks.make("batch normalization")
    twin.set_weights(model.get_weights())
    direction = direction_for(x)
    found = tf.function(lambda x: by_the_pass(x, model, direction), autograph=False)(tf.constant(x))
    assert found.dtype == tf.float32
    expected = by_the_accumulator(tf.constant(x), twin, tf.constant(direction))
    assert_close(found, expected, tolerance=0.02)


def test_the_traced_graph_does_not_grow_with_the_number_of_classes():
    def number_of_operations(classes):
        model = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(3, 3, activation="relu")])
        model.add(layers.Flatten())
        model.add(layers.Dense(classes))
        compute = tf.function(lambda x: by_the_walk(x, model, x), autograph=False)
        trace = compute.get_concrete_function(tf.TensorSpec((None, 6, 6, 2), tf.float32))
        return len(trace.graph.get_operations())

    assert number_of_operations(3) == number_of_operations(300)


def test_logits_that_do_not_depend_on_the_inputs_have_no_derivative():
    with tf.Graph().as_default():
        x = tf.zeros((2, 3))
        logits = tf.cast(tf.cast(x, "int32"), "float32")
        operations = operations_between(x, logits)
        assert operations
        assert directional_derivative(operations, x, logits, tf.ones((2, 3))) is None


@pytest.mark.grid(16)
@pytest.mark.parametrize(
    "combine",
    [tf.add, tf.subtract, tf.multiply, tf.math.squared_difference, tf.maximum, tf.divide],
)
@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((3, 1), (2, 3, 4)), ((2, 3), ())], ids=str)
@pytest.mark.parametrize("moves", ["left", "right", "both"])
def test_operands_that_broadcast_move_the_whole_output(combine, shapes, moves, rng):
    x = tf.constant(rng.normal(size=(5,)), tf.float32)
    direction = tf.constant(rng.normal(size=(5,)), tf.float32)
    maps = [tf.constant(rng.normal(size=(5, int(np.prod(shape)))), tf.float32) for shape in shapes]
    still = tf.constant(rng.normal(size=(5,)), tf.float32)

    def outputs(x):
        operands = []
        for side, matrix, shape in zip(("left", "right"), maps, shapes, strict=True):
            vector = x if moves in (side, "both") else still
            operands.append(tf.reshape(tf.linalg.matvec(matrix, vector, transpose_a=True), shape))
        return combine(*operands)

    found = tf.function(lambda x: by_the_walk(x, outputs, direction), autograph=False)(x)
    assert_close(found, by_the_accumulator(x, outputs, direction))
