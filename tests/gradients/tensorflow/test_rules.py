"""The facts that both walks go by: backwards a rule does the transpose of what it does forwards."""

import numpy as np
import tensorflow as tf

from keras_lodin.gradients.tensorflow import by_gradient_function
from keras_lodin.gradients.tensorflow.graph_walk import operations_between
from keras_lodin.gradients.tensorflow.jvp import directional_derivative
from keras_lodin.gradients.tensorflow.rules import RULES, operations_with_rules
from keras_lodin.gradients.tensorflow.vjp import vectorized_gradient

COUNT = 3
IMAGE = (2, 4, 4, 3)
KERNEL = np.random.default_rng(1).normal(size=(3, 3, 3, 2)).astype("float32")
OTHER = np.random.default_rng(2).normal(size=(4, 3)).astype("float32")

# An operation of each type that has a rule, as a function of an image of positive numbers.
OPERATIONS = {
    "Add": lambda x: tf.raw_ops.Add(x=x, y=OTHER),
    "AddV2": lambda x: x + OTHER,
    "AvgPool": lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
    "BiasAdd": lambda x: tf.nn.bias_add(x, OTHER[0]),
    "Cast": lambda x: tf.cast(x, tf.float64),
    "Conv2D": lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME"),
    "Conv3D": lambda x: tf.nn.conv3d(x[:, None], KERNEL[None], [1] * 5, "SAME"),
    "DepthwiseConv2dNative": lambda x: tf.nn.depthwise_conv2d(x, KERNEL, [1] * 4, "SAME"),
    "Elu": lambda x: tf.nn.elu(x - 1.0),
    "Erf": tf.math.erf,
    "Exp": tf.exp,
    "Identity": tf.identity,
    "MatMul": lambda x: tf.reshape(x, (2, 48)) @ np.ones((48, 2), "float32"),
    "MaxPool": lambda x: tf.nn.max_pool2d(x, 2, 1, "SAME"),
    "MaxPool3D": lambda x: tf.nn.max_pool3d(x[:, None], 2, 1, "SAME"),
    "Mean": lambda x: tf.reduce_mean(x, (1, 3)),
    "Mul": lambda x: x * OTHER,
    "Neg": lambda x: -x,
    "Pad": lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]]),
    "Relu": lambda x: tf.nn.relu(x - 1.0),
    "Relu6": lambda x: tf.nn.relu6(4.0 * x),
    "Reshape": lambda x: tf.reshape(x, (2, -1)),
    "ResizeBicubic": lambda x: tf.raw_ops.ResizeBicubic(images=x, size=(5, 7)),
    "ResizeBilinear": lambda x: tf.raw_ops.ResizeBilinear(images=x, size=(5, 7)),
    "ResizeNearestNeighbor": lambda x: tf.raw_ops.ResizeNearestNeighbor(images=x, size=(5, 7)),
    "Rsqrt": tf.math.rsqrt,
    "ScaleAndTranslate": lambda x: tf.raw_ops.ScaleAndTranslate(
        images=x, size=(5, 7), scale=(1.2, 1.7), translation=(0.1, 0.2)
    ),
    "Sigmoid": tf.sigmoid,
    "Softplus": tf.nn.softplus,
    "Softsign": tf.nn.softsign,
    "Sqrt": tf.sqrt,
    "SquaredDifference": lambda x: tf.math.squared_difference(x, OTHER * x),
    "StridedSlice": lambda x: x[:, ::2, 1:],
    "Sub": lambda x: OTHER - x,
    "Sum": lambda x: tf.reduce_sum(x, 2, keepdims=True),
    "Tanh": tf.tanh,
    "Transpose": lambda x: tf.transpose(x, (0, 3, 1, 2)),
}


def test_every_operation_with_a_rule_is_tried_and_listed_with_its_fact():
    assert OPERATIONS.keys() == RULES.keys() == operations_with_rules().keys()
    assert all(fact.startswith("With y") for fact in operations_with_rules().values())


def test_backwards_is_the_transpose_of_forwards_and_both_are_tensorflows(rng):
    """In one graph for all: J^T du for some du, and J dx, by the walks and by TensorFlow alone."""

    @tf.function(autograph=False)
    def compute(x, direction):
        found = {}
        for name, function in OPERATIONS.items():
            inputs = tf.identity(x)
            outputs = function(inputs)
            operations = operations_between(inputs, outputs)
            assert any(operation.type == name for operation in operations)
            random = np.random.default_rng(3).normal(size=(COUNT, *outputs.shape))
            cotangents = tf.constant(random, outputs.dtype)
            pulled = vectorized_gradient(operations, inputs, outputs, cotangents)
            pushed = directional_derivative(operations, inputs, outputs, direction)
            along = [
                tf.cast(tf.reduce_sum(pulled * direction, (1, 2, 3, 4)), outputs.dtype),
                tf.reduce_sum(cotangents * pushed, range(1, cotangents.shape.rank)),
            ]
            expected = tf.gradients(outputs, inputs, cotangents[0])[0]
            found[name] = along, (pulled[0], expected)
        return found

    x = rng.uniform(0.2, 2.0, IMAGE).astype("float32")
    for name, pairs in compute(x, rng.normal(size=IMAGE).astype("float32")).items():
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4, err_msg=name)


def test_what_else_a_linear_operation_reads_may_move_as_well():
    @tf.function(autograph=False)
    def compute(x):
        inputs = tf.identity(x)
        outputs = tf.nn.bias_add(inputs * 3.0, tf.reduce_sum(inputs, 0))
        operations = operations_between(inputs, outputs)
        along = directional_derivative(operations, inputs, outputs, tf.ones_like(x))
        cotangents = tf.reshape(tf.range(6, dtype=tf.float32), (1, 2, 3))
        found = vectorized_gradient(operations, inputs, outputs, cotangents)[0]
        return found, tf.gradients(outputs, inputs, cotangents[0])[0], along

    found, expected, along = compute(tf.ones((2, 3)))
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(along, np.full((2, 3), 3.0))  # a sum over the batch stands still


def test_an_operation_without_a_rule_goes_by_tensorflows_gradient_function():
    with tf.Graph().as_default():
        x = tf.constant([0.1, 0.2])
        operation = tf.sin(x).op
        assert operation.type not in RULES
        (pushed,) = by_gradient_function.push(operation, [tf.ones(2)])
        (pulled,) = by_gradient_function.pull(operation, [tf.ones((COUNT, 2))], [True])
        with tf.compat.v1.Session() as session:
            forwards, backwards = session.run([pushed, pulled])
    np.testing.assert_allclose(forwards, np.cos([0.1, 0.2]), rtol=1e-6)
    np.testing.assert_allclose(backwards, [forwards] * COUNT)
