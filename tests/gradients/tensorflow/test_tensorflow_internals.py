"""The private names of TensorFlow, each held to its contract."""

import numpy as np
import pytest
import tensorflow as tf


def internals():
    """The module, or a failure that says which TensorFlow it does not fit."""
    try:
        from keras_lodin.gradients.tensorflow import tensorflow_internals
    except (ImportError, AttributeError) as error:
        pytest.fail(f"tensorflow_internals.py does not fit TensorFlow {tf.__version__}: {error}")
    return tensorflow_internals


def says(name):
    return f"`{name}` no longer works as tensorflow_internals.py says in {tf.__version__}"


def test_gradient_function_takes_the_operation_and_its_cotangents(rng):
    a, b, cotangent = (rng.normal(size=(2, 2)).astype("float32") for _ in range(3))

    @tf.function
    def compute(a, b, cotangent):
        product = tf.matmul(a, b)
        return internals().gradient_function(product.op)(product.op, cotangent)

    for_a, for_b = compute(a, b, cotangent)
    np.testing.assert_allclose(for_a, cotangent @ b.T, rtol=1e-5, err_msg=says("gradient_function"))
    np.testing.assert_allclose(for_b, a.T @ cotangent, rtol=1e-5, err_msg=says("gradient_function"))


def test_gradient_function_of_several_outputs_takes_one_cotangent_for_each():
    @tf.function
    def compute(x):
        left, _ = tf.split(x, 2)
        gradient = internals().gradient_function(left.op)
        return gradient(left.op, tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0]))[-1]

    np.testing.assert_array_equal(
        compute(tf.zeros(4)), [1.0, 2.0, 3.0, 4.0], err_msg=says("gradient_function")
    )


def test_gradient_function_finds_a_custom_gradient():
    @tf.custom_gradient
    def doubled(x):
        return 2.0 * x, lambda upstream: 77.0 * upstream

    @tf.function
    def compute(x):
        operation = doubled(x).op
        # That of the result comes first, then those of what it was computed from.
        return internals().gradient_function(operation)(operation, tf.ones(3))[-1]

    np.testing.assert_array_equal(
        compute(tf.zeros(3)), [77.0] * 3, err_msg=says("gradient_function")
    )


@pytest.mark.parametrize(
    "function",
    [
        tf.shape,  # declared without a derivative
        lambda x: tf.raw_ops.SoftsignGrad(gradients=x, features=x),  # one that nobody wrote
    ],
    ids=["declared", "missing"],
)
def test_gradient_function_of_an_operation_without_a_derivative_is_none(function):
    with tf.Graph().as_default():
        operation = function(tf.zeros((2, 3))).op
        assert internals().gradient_function(operation) is None, says("gradient_function")


@pytest.mark.parametrize("kind", ["function", "variable", "nested", "branch"])
def test_functions_that_a_graph_calls_are_written_out(kind):
    weight = tf.Variable(3.0)

    @tf.function
    def inner(x):
        return x * weight if kind == "variable" else 3.0 * x

    @tf.function
    def middle(x):
        if kind == "branch":
            return tf.cond(tf.reduce_sum(x) > 0.0, lambda: inner(x), lambda: x)
        return inner(x) if kind == "nested" else x

    concrete = tf.function(lambda x: inner(x) + middle(x)).get_concrete_function(
        tf.TensorSpec((2,), tf.float32)
    )
    needed = [tensor.name for tensor in (*concrete.inputs, *concrete.outputs)]
    written = internals().without_calls(concrete.graph.as_graph_def(), needed)
    kinds = {node.op for node in written.node}
    assert not kinds & {"PartitionedCall", "StatefulPartitionedCall"}, says("without_calls")
    assert not kinds & {"Switch", "Merge"}, says("without_calls")
    names = {node.name for node in written.node}
    assert {name.split(":")[0] for name in needed} <= names, says("without_calls")
    reads = [node for node in written.node if node.op == "ReadVariableOp"]
    places = {tensor.op.name for tensor in concrete.inputs}
    assert all(node.input[0] in places for node in reads), says("without_calls")
