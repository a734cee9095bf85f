"""Every rule by itself: a tiny graph's gradient in onnxruntime against TensorFlow's."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from keras_lodin.export.onnx_conversion import convert
from keras_lodin.export.onnx_rules import RULES


def run_both(function, shape, free=True, low=-2.0, high=2.0, batches=(1, 7)):
    """Largest relative difference of a function's input gradient, and the model.

    The gradient is that of a weighted sum, with weights of no pattern, so that a gradient put in a
    wrong place shows.
    """
    signature = [tf.TensorSpec((None if free else batches[0], *shape), tf.float32, name="x")]

    @tf.function(input_signature=signature, autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
            size = tf.size(y)
            weights = tf.sin(tf.cast(tf.range(size), tf.float32) * 0.7) + 0.1
            total = tf.reduce_sum(tf.reshape(y, [-1]) * weights)
        return {"y": y, "gradient": tape.gradient(total, x)}

    model = convert(gradient, [])
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    worst = 0.0
    for batch in batches if free else batches[:1]:
        sizes = [6 + axis if size is None else size for axis, size in enumerate(shape)]
        # A shuffled grid: no two values are close, so that no kink or tie is.
        count = batch * int(np.prod(sizes))
        grid = low + (high - low) * (np.arange(count) + 0.5) / count
        x = rng.permutation(grid).reshape(batch, *sizes).astype("float32")
        expected = gradient(tf.constant(x))
        y, given = session.run(["y", "gradient"], {"x": x})
        np.testing.assert_allclose(y, expected["y"], rtol=1e-5, atol=1e-5)
        right = expected["gradient"].numpy()
        assert given.shape == right.shape
        worst = max(worst, float(np.max(np.abs(given - right)) / np.max(np.abs(right))))
    return worst


def kernel(*shape):
    return tf.constant(np.random.default_rng(3).normal(size=shape).astype("float32"))


ELEMENTWISE = {
    "ReluGrad": tf.nn.relu,
    "Relu6Grad": lambda x: tf.nn.relu6(6 * x),
    "LeakyReluGrad": lambda x: tf.nn.leaky_relu(x, 0.3),
    "EluGrad": tf.nn.elu,
    "SeluGrad": tf.nn.selu,
    "SigmoidGrad": tf.sigmoid,
    "TanhGrad": tf.tanh,
    "SoftplusGrad": lambda x: tf.raw_ops.Softplus(features=x),
    "SoftsignGrad": tf.nn.softsign,
    "RsqrtGrad": lambda x: tf.math.rsqrt(x + 3.0),
    "SqrtGrad": lambda x: tf.sqrt(x + 3.0),
    "ReciprocalGrad": lambda x: tf.math.reciprocal(x + 3.0),
    "Expm1": tf.math.expm1,
    "Log1p": lambda x: tf.math.log1p(x + 1.5),
    "Erfc": tf.math.erfc,
    "Xlogy": lambda x: tf.math.xlogy(x, x + 3.0),
    "Xdivy": lambda x: tf.math.xdivy(x, x + 3.0),
    "MulNoNan": lambda x: tf.math.multiply_no_nan(x, tf.nn.relu(x)),
}


@pytest.mark.parametrize("operation", ELEMENTWISE)
def test_elementwise_gradient(operation):
    assert run_both(ELEMENTWISE[operation], (5, 3)) < 1e-6


@pytest.mark.parametrize("x", [1e-7, -1e-7, 1e-3, 0.5, -0.5])
def test_small_numbers_keep_their_digits(x):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def function(x):
        return {"expm1": tf.math.expm1(x), "log1p": tf.math.log1p(x)}

    session = onnxruntime.InferenceSession(
        convert(function, []).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expm1, log1p = session.run(["expm1", "log1p"], {"x": np.array([x], "float32")})
    exact = np.float64(np.float32(x))
    np.testing.assert_allclose(expm1, np.expm1(exact), rtol=5e-7)
    np.testing.assert_allclose(log1p, np.log1p(exact), rtol=5e-7)


POOLING = [
    # ksize, strides, padding: overlapping, apart, and with strides above the window.
    (3, 1, "VALID"),
    (3, 2, "VALID"),
    (3, 2, "SAME"),
    (2, 2, "SAME"),
    (3, 1, "SAME"),
    (2, 3, "VALID"),
    (2, 3, "SAME"),
]


@pytest.mark.parametrize("pool", [tf.nn.max_pool, tf.nn.avg_pool], ids=["max", "average"])
@pytest.mark.parametrize(("size", "stride", "padding"), POOLING)
@pytest.mark.parametrize(
    "shape",
    [(11, 2), (9, 8, 3), (5, 6, 7, 2), (None, None, 2)],
    ids=["1d", "2d", "3d", "free"],
)
def test_pooling_gradient(pool, size, stride, padding, shape):
    assert run_both(lambda x: pool(x, size, stride, padding), shape) < 1e-6


def test_windows_that_pick_the_same_pixel_add_up():
    def gradient_of_sum(x):
        return tf.nn.max_pool(x, 3, 1, "VALID")

    @tf.function(input_signature=[tf.TensorSpec((None, 5, 5, 1), tf.float32, name="x")])
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(gradient_of_sum(x))
        return {"gradient": tape.gradient(total, x)}

    session = onnxruntime.InferenceSession(
        convert(function, []).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.zeros((2, 5, 5, 1), "float32")
    x[:, 2, 2] = 1.0  # the largest pixel of all nine windows
    (gradient,) = session.run(["gradient"], {"x": x})
    assert (gradient[:, 2, 2] == 9.0).all()
    assert gradient.sum() == 18.0


CONVOLUTIONS = [
    # kernel, strides, padding, dilations
    (3, 1, "VALID", 1),
    (3, 1, "SAME", 1),
    (3, 2, "SAME", 1),
    (3, 2, "VALID", 1),
    (2, 3, "VALID", 1),
    (2, 3, "SAME", 1),
    (4, 1, "SAME", 1),
    (1, 1, "VALID", 1),
    (1, 2, "SAME", 1),
    (3, 1, "SAME", 2),
    (3, 1, "VALID", 2),
]


@pytest.mark.parametrize(("size", "stride", "padding", "dilation"), CONVOLUTIONS)
@pytest.mark.parametrize(
    "shape",
    [(11, 2), (9, 8, 3), (7, 6, 5, 2), (None, None, 2)],
    ids=["1d", "2d", "3d", "free"],
)
def test_convolution_gradient(size, stride, padding, dilation, shape):
    spatial = len(shape) - 1
    weights = kernel(*[size] * spatial, shape[-1], 4)

    def convolution(x):
        return tf.nn.convolution(x, weights, strides=stride, padding=padding, dilations=dilation)

    assert run_both(convolution, shape) < 1e-6


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3])
def test_grouped_convolution_gradient(stride, size):
    weights = kernel(size, size, 2, 6)  # six channels in three groups of two
    assert run_both(lambda x: tf.nn.conv2d(x, weights, stride, "SAME"), (7, 5, 6)) < 1e-6


@pytest.mark.parametrize("padding", ["SAME", "VALID", [[0, 0], [2, 1], [1, 2], [0, 0]]])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_gradient_with_explicit_padding(padding, stride):
    weights = kernel(3, 3, 2, 4)
    assert run_both(lambda x: tf.nn.conv2d(x, weights, stride, padding), (7, 6, 2)) < 1e-6


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    [
        (3, 1, "SAME", 1),
        (3, 2, "SAME", 1),
        (3, 2, "VALID", 1),
        (2, 3, "SAME", 1),
        (3, 1, "SAME", 2),
    ],
)
@pytest.mark.parametrize("shape", [(9, 8, 3), (None, None, 3)], ids=["static", "free"])
def test_depthwise_convolution_gradient(multiplier, size, stride, padding, dilation, shape):
    weights = kernel(size, size, 3, multiplier)

    def convolution(x):
        return tf.nn.depthwise_conv2d(
            x, weights, [1, stride, stride, 1], padding, dilations=[dilation, dilation]
        )

    assert run_both(convolution, shape) < 1e-6


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolution_and_its_gradient(padding, stride):
    weights = kernel(3, 3, 4, 2)
    sizes = {"SAME": [5 * stride, 4 * stride], "VALID": [4 * stride + 3, 3 * stride + 3]}[padding]

    def convolution(x):
        shape = tf.stack([tf.shape(x)[0], *sizes, 4])
        return tf.nn.conv2d_transpose(x, weights, shape, stride, padding)

    assert run_both(convolution, (5, 4, 2)) < 1e-6


@pytest.mark.parametrize("mode", ["half_pixel_centers", "align_corners", "neither"])
@pytest.mark.parametrize("size", [(5, 6), (13, 17), (8, 7), (16, 14)])
@pytest.mark.parametrize("shape", [(8, 7, 2), (None, None, 2)], ids=["static", "free"])
@pytest.mark.parametrize("kind", ["ResizeBilinear", "ResizeNearestNeighbor"])
def test_resizing_gradient(kind, size, mode, shape):
    operation = getattr(tf.raw_ops, kind)

    def resize(x):
        return operation(
            images=x,
            size=size,
            align_corners=mode == "align_corners",
            half_pixel_centers=mode == "half_pixel_centers",
        )

    assert run_both(resize, shape, batches=(2, 3)) < 2e-6


SLICES = {
    "part": lambda x: x[:, 1:5, 2:],
    "strides": lambda x: x[:, ::2, 1::3],
    "stride that leaves pixels behind": lambda x: x[:, 0:5:3],
    "from the end": lambda x: x[:, -3:, :-2],
    "one index": lambda x: x[:, 2],
    "last index": lambda x: x[:, -1],
    "turned round": lambda x: x[:, ::-1, ::-2],
    "turned round in part": lambda x: x[:, 5:1:-2],
    "ellipsis": lambda x: x[..., 1],
    "new axis": lambda x: x[:, tf.newaxis, 1:3, ..., tf.newaxis],
    "behind the end": lambda x: x[:, 2:100],
}


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("shape", [(7, 6, 2), (None, None, 2)], ids=["static", "free"])
def test_slice_gradient(name, shape):
    assert run_both(SLICES[name], shape) < 1e-6


@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
@pytest.mark.parametrize("amounts", [(2, 1), (0, 3), (3, 0)])
def test_mirror_padding_gradient(mode, amounts):
    paddings = [(0, 0), amounts, amounts[::-1], (0, 0)]
    assert run_both(lambda x: tf.pad(x, paddings, mode), (6, 5, 2)) < 1e-6


BROADCASTS = {
    "column": lambda x: x * tf.reduce_mean(x, 2, keepdims=True),
    "row": lambda x: x / (3.0 + tf.reduce_mean(x, 1, keepdims=True)),
    "lower rank": lambda x: x * x[0, 0],
    "scalar": lambda x: x * tf.reduce_sum(x),
    "both ways": lambda x: x[:, :1] * x[:, :, :1],
    "size one": lambda x: x[:, :1] * x[:, 1:2],
    "constant": lambda x: x * kernel(1, 6),
}


@pytest.mark.parametrize("name", BROADCASTS)
@pytest.mark.parametrize("shape", [(5, 6), (None, 6)], ids=["static", "free"])
def test_broadcast_gradient(name, shape):
    assert run_both(BROADCASTS[name], shape) < 2e-6


SHAPES = {
    "ConcatOffset": lambda x: tf.square(tf.concat([x, 2 * x[:, 1:], x], 1)),
    "DynamicStitch": lambda x: tf.square(tf.reduce_max(x, 1)) + tf.reduce_prod(x, 1),
    "ShapeN": lambda x: tf.square(tf.reshape(x, [-1, tf.shape(x)[2]])),
}


@pytest.mark.parametrize("operation", SHAPES)
@pytest.mark.parametrize("shape", [(5, 6), (None, 6)], ids=["static", "free"])
def test_arithmetic_on_shapes(operation, shape):
    assert run_both(SHAPES[operation], shape, low=0.5, high=1.5) < 1e-6


def test_sign_bit_tells_negative_zero():
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def function(x):
        mask = tf.constant(np.iinfo("int32").min)
        return {"negative": tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), mask) < 0}

    session = onnxruntime.InferenceSession(
        convert(function, []).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf], "float32")
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], np.signbit(x))


def test_other_uses_of_bits_are_refused():
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def function(x):
        return {"bits": tf.bitcast(x, tf.int32) + 1}

    with pytest.raises(ValueError, match="the bits of a number cannot be read"):
        convert(function, [])


def test_every_rule_says_what_it_computes():
    for operation, rule in RULES.items():
        assert rule.__doc__, operation
