"""Gradients of many cotangents at once against TensorFlow's tape, one cotangent at a time."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_lodin.gradients import ForwardPass
from keras_lodin.gradients.tensorflow.graph_walk import operations_between
from keras_lodin.gradients.tensorflow.vjp import vectorized_gradient
from tests.gradients.tensorflow import graph_networks
from tests.gradients.tensorflow.graph_networks import assert_close, trainable

COUNT = 4


def loss_of(gradients):
    """A function of the gradients whose derivative is neither constant nor linear in them."""
    return tf.reduce_sum(tf.sqrt(tf.square(gradients) + 0.1))


def cotangents_for(x):
    rng = np.random.default_rng(3)
    return rng.normal(size=(COUNT, len(x), graph_networks.CLASSES)).astype("float32")


def by_the_walk(model, x, logits_of, cotangents):
    """The function under test, on the operations of the graph that is being traced."""
    x = tf.identity(x)
    logits = logits_of(x)
    return vectorized_gradient(operations_between(x, logits), x, logits, cotangents)


def by_the_tape(model, x, logits_of, cotangents):
    with graph_networks.moving_moments(), tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        logits = logits_of(x)
    return tf.stack([tape.gradient(logits, x, c) for c in tf.unstack(cotangents)])


def with_second_order(method, model, training):
    """A function of (x, cotangents): gradients, and derivatives of a loss of them."""

    def compute(x, cotangents):
        with tf.GradientTape() as tape:
            tape.watch([x, cotangents])
            gradients = method(
                model, x, lambda inputs: model(inputs, training=training), cotangents
            )
            loss = loss_of(gradients)
        derivatives = tape.gradient(
            loss, [x, cotangents, *trainable(model)], unconnected_gradients="zero"
        )
        return gradients, [tf.convert_to_tensor(derivative) for derivative in derivatives]

    return compute


def check(model, x, sizes, training):
    cotangents = cotangents_for(x)
    signature = [
        graph_networks.specification(model, x, sizes),
        tf.TensorSpec((COUNT, None, graph_networks.CLASSES), tf.float32),
    ]
    walked = tf.function(
        with_second_order(by_the_walk, model, training), input_signature=signature, autograph=False
    )
    before = model.get_weights()
    gradients, derivatives = walked(x, cotangents)
    model.set_weights(before)
    expected, expected_derivatives = with_second_order(by_the_tape, model, training)(
        tf.constant(x), tf.constant(cotangents)
    )
    assert_close(gradients, expected)
    assert_close(derivatives, expected_derivatives)


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
def test_gradients_and_their_derivatives_are_those_of_the_tape(name, sizes):
    check(*graph_networks.make(name), sizes, training=False)


@pytest.mark.grid(8)
@pytest.mark.parametrize("name", graph_networks.ANY_SIZE)
def test_sizes_that_only_the_running_graph_knows_change_nothing(name):
    check(*graph_networks.make(name, any_size=True), "free sizes", training=False)


@pytest.mark.grid(10)
@pytest.mark.parametrize("sizes", ["fixed", "free batch"])
@pytest.mark.parametrize("name", [name for name in graph_networks.BLOCKS if "normal" in name])
def test_training_mode_counts_a_samples_influence_on_the_others(name, sizes):
    check(*graph_networks.make(name), sizes, training=True)


@pytest.mark.parametrize("name", ["batch normalization", "normalized series"])
def test_training_mode_with_free_sizes_counts_it_too(name):
    model, x = graph_networks.make(name, any_size=name == "batch normalization")
    check(model, x, "free sizes", training=True)


@pytest.mark.parametrize("name", graph_networks.ONCE)
def test_a_second_derivative_that_tensorflow_lacks_is_not_needed_for_the_first(name):
    model, x = graph_networks.make(name)
    cotangents = tf.constant(cotangents_for(x))
    found = tf.function(lambda x: by_the_walk(model, x, model, cotangents), autograph=False)(
        tf.constant(x)
    )
    assert_close(found, by_the_tape(model, tf.constant(x), model, cotangents))


@pytest.mark.grid(3)
@pytest.mark.parametrize(
    ("name", "walks"),
    [*((name, True) for name in graph_networks.CALLED), ("recurrent", False)],
)
def test_a_walk_goes_through_what_is_called_once_and_leaves_loops_to_tensorflow(name, walks):
    model, x = graph_networks.make(name)
    cotangents = cotangents_for(x)
    walkable = []

    def by_the_pass(model, x, logits_of, cotangents):
        forward_pass = ForwardPass(logits_of, x)
        walkable.append(forward_pass._operations is not None)
        return forward_pass.input_gradients(cotangents)

    compute = tf.function(with_second_order(by_the_pass, model, False), autograph=False)
    gradients, derivatives = compute(tf.constant(x), tf.constant(cotangents))
    expected, expected_derivatives = with_second_order(by_the_tape, model, False)(
        tf.constant(x), tf.constant(cotangents)
    )
    assert_close(gradients, expected)
    assert_close(derivatives, expected_derivatives)
    assert walkable == [walks]


@pytest.mark.parametrize("name", ["convolution", "batch normalization", "attention"])
def test_eager_mode_gives_the_same(name):
    model, x = graph_networks.make(name)
    cotangents = tf.constant(cotangents_for(x))
    found = ForwardPass(lambda inputs: model(inputs, training=False), x).input_gradients(cotangents)
    expected = by_the_tape(model, tf.constant(x), lambda inputs: model(inputs), cotangents)
    assert_close(found, expected)


def test_half_precision_networks_agree_loosely():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, x = graph_networks.make("batch normalization")
    finally:
        keras.config.set_dtype_policy("float32")
    twin, _ = graph_networks.make("batch normalization")
    twin.set_weights(model.get_weights())
    cotangents = cotangents_for(x)

    @tf.function(autograph=False)
    def compute(x):
        forward_pass = ForwardPass(lambda inputs: model(inputs, training=False), x)
        assert forward_pass._operations is not None
        return forward_pass.input_gradients(cotangents)

    expected = by_the_tape(twin, tf.constant(x), lambda i: twin(i), tf.constant(cotangents))
    assert compute(x).dtype == tf.float32
    assert_close(compute(x), expected, tolerance=0.02)


def number_of_operations(count):
    model, x = graph_networks.make("squeeze and excitation")
    compute = tf.function(
        lambda x, cotangents: by_the_walk(model, x, model, cotangents), autograph=False
    )
    cotangents = tf.TensorSpec((count, 3, graph_networks.CLASSES), tf.float32)
    trace = compute.get_concrete_function(tf.TensorSpec(x.shape, tf.float32), cotangents)
    return len(trace.graph.get_operations())


def test_the_traced_graph_does_not_grow_with_the_number_of_cotangents():
    assert number_of_operations(2) == number_of_operations(200)


def test_logits_that_do_not_depend_on_the_inputs_have_no_gradient():
    with tf.Graph().as_default():
        x = tf.zeros((2, 3))
        logits = tf.cast(tf.cast(x, "int32"), "float32")
        assert operations_between(x, logits)
        found = vectorized_gradient(operations_between(x, logits), x, logits, tf.zeros((4, 2, 3)))
    assert found is None


def test_an_input_that_many_operations_read_gathers_all_their_gradients(rng):
    x = rng.normal(size=(2, 3)).astype("float32")
    cotangents = rng.normal(size=(4, 2, 3)).astype("float32")

    @tf.function(autograph=False)
    def compute(x):
        x = tf.identity(x)
        y = x * x + tf.reduce_mean(x, axis=1, keepdims=True) + 3.0 * x - x
        return vectorized_gradient(operations_between(x, y), x, y, cotangents)

    mean = cotangents.mean(-1, keepdims=True)
    np.testing.assert_allclose(compute(x), cotangents * (2 * x + 2.0) + mean, rtol=1e-5, atol=1e-5)


@pytest.mark.grid(20)
@pytest.mark.parametrize(
    "combine",
    [tf.add, tf.subtract, tf.multiply, tf.math.squared_difference, tf.maximum, tf.divide],
)
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 3, 4), (4,)),
        ((3, 1), (2, 3, 4)),
        ((2, 1, 4), (2, 3, 1)),
        ((1, 1), (2, 3, 4)),
        ((2, 3, 4), ()),
    ],
    ids=str,
)
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "free"])
def test_operands_of_any_shapes_that_broadcast_get_the_gradients_of_the_tape(
    combine, left, right, fixed, rng
):
    """Both operands depend on the input, each by its own linear map."""
    x = rng.normal(size=(5,)).astype("float32")
    maps = [
        tf.constant(rng.normal(size=(5, int(np.prod(shape)))), tf.float32)
        for shape in (left, right)
    ]
    cotangents = tf.constant(rng.normal(size=(COUNT, 2, 3, 4)), tf.float32)

    def both(x):
        a, b = (
            tf.reshape(tf.linalg.matvec(matrix, x, transpose_a=True), shape)
            for matrix, shape in zip(maps, (left, right), strict=True)
        )
        if not fixed:
            # Static shapes that say nothing of the sizes but their number.
            a, b = (
                tf.raw_ops.PlaceholderWithDefault(input=value, shape=[None] * len(value.shape))
                for value in (a, b)
            )
        return combine(a, b)

    def compute(x):
        x = tf.identity(x)
        y = both(x)
        return vectorized_gradient(operations_between(x, y), x, y, cotangents)

    def tape(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = both(x)
        return tf.stack([tape.gradient(y, x, c) for c in tf.unstack(cotangents)])

    assert_close(
        tf.function(compute, autograph=False)(tf.constant(x)),
        tf.function(tape, autograph=False)(tf.constant(x)),
    )


def test_dropout_masks_are_those_of_the_forward_pass(rng):
    dropout = layers.Dropout(0.5, seed=1)
    x = rng.normal(size=(2, 50)).astype("float32")

    @tf.function(autograph=False)
    def compute(x):
        forward_pass = ForwardPass(lambda inputs: dropout(inputs, training=True), x)
        return forward_pass.logits, forward_pass.input_gradients(tf.ones((3, 2, 50)))

    dropped, gradients = compute(x)
    for gradient in gradients:
        np.testing.assert_allclose(gradient * x, dropped, rtol=1e-6)
    assert 0 < np.count_nonzero(dropped) < 100


@pytest.mark.parametrize("name", graph_networks.ONCE)
def test_second_derivatives_that_tensorflow_lacks_equal_finite_differences(name):
    model, x = graph_networks.make(name)
    cotangents = cotangents_for(x)
    walked = tf.function(with_second_order(by_the_walk, model, False), autograph=False)
    weights = trainable(model)
    rng = np.random.default_rng(5)
    direction = [rng.normal(size=weight.shape).astype("float32") for weight in weights]
    before = [weight.numpy() for weight in weights]

    def loss(step):
        for weight, start, along in zip(weights, before, direction, strict=True):
            weight.assign(start + step * along)
        return float(loss_of(tf.cast(walked(tf.constant(x), cotangents)[0], tf.float64)))

    numeric = (loss(1e-3) - loss(-1e-3)) / 2e-3
    loss(0.0)
    _, (_, _, *derivatives) = walked(tf.constant(x), cotangents)
    slope = sum(np.sum(d * v) for d, v in zip(derivatives, direction, strict=True))
    np.testing.assert_allclose(slope, numeric, rtol=5e-3)
