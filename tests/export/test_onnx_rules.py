"""Every rule by itself: a tiny graph's gradient in onnxruntime against TensorFlow's."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from keras_lodin.export.onnx.conversion import convert
from keras_lodin.export.onnx.rules import RULES
from tests.export.networks import content


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

    model = content(convert(gradient, []))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
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
    "Erfc of an opposite": lambda x: tf.math.erfc(-x * 0.5),
    "Square of an opposite": lambda x: tf.square(0.5 * -x),
    "Xlogy": lambda x: tf.math.xlogy(x, x + 3.0),
    "Xdivy": lambda x: tf.math.xdivy(x, x + 3.0),
    "MulNoNan": lambda x: tf.math.multiply_no_nan(x, tf.nn.relu(x)),
    "SelectV2": lambda x: tf.where(x > 0.5, x, tf.square(x)),
    "Select": lambda x: tf.raw_ops.Select(condition=tf.reduce_sum(x, [1, 2]) > 0, x=x, y=3 * x),
    "Bucketize": lambda x: x * tf.cast(bucket(x, [-1.0, 0.0, 0.5]), tf.float32),
    "OneHot": lambda x: x * tf.one_hot(tf.argmax(x, -1) - 1, 3),
    "OneHot on another axis": lambda x: x * tf.one_hot(tf.argmax(x, 1) - 2, 5, 2.0, 3.0, axis=1),
    "TopKV2": lambda x: tf.math.top_k(x, 2)[0] * tf.cast(tf.math.top_k(x, 2)[1], tf.float32),
}


def bucket(x, boundaries):
    return tf.raw_ops.Bucketize(input=x, boundaries=boundaries)


@pytest.mark.grid(8)
@pytest.mark.parametrize("operation", ELEMENTWISE)
def test_elementwise_gradient(operation):
    assert run_both(ELEMENTWISE[operation], (5, 3)) < 1e-6


def test_a_gelu_without_a_gradient_is_one_operation_to_onnxruntime(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((None, 5), tf.float32, name="x")])
    def function(x):
        return {"y": tf.nn.gelu(x)}

    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    settings.log_severity_level = 3
    onnxruntime.InferenceSession(
        content(convert(function, [])), settings, providers=["CPUExecutionProvider"]
    )
    nodes = onnx.load(settings.optimized_model_filepath).graph.node
    assert [node.op_type for node in nodes] == ["Gelu"]


def values_of(function, x):
    """A function's outputs at single numbers, in TensorFlow and in onnxruntime."""
    traced = tf.function(
        function, input_signature=[tf.TensorSpec((None,), tf.float32, name="x")], autograph=False
    )
    session = onnxruntime.InferenceSession(
        content(convert(traced, [])), providers=["CPUExecutionProvider"]
    )
    x = np.array(x, "float32")
    names = [output.name for output in session.get_outputs()]
    given = dict(zip(names, session.run(names, {"x": x}), strict=True))
    return {name: value.numpy() for name, value in traced(tf.constant(x)).items()}, given


def test_small_numbers_keep_their_digits():
    x = [1e-7, -1e-7, 1e-3, 0.5, -0.5]
    _, given = values_of(lambda x: {"expm1": tf.math.expm1(x), "log1p": tf.math.log1p(x)}, x)
    exact = np.array(x, "float32").astype("float64")
    np.testing.assert_allclose(given["expm1"], np.expm1(exact), rtol=5e-7)
    np.testing.assert_allclose(given["log1p"], np.log1p(exact), rtol=5e-7)


def test_large_numbers_give_what_tensorflow_gives():
    x = [5.0, 80.0, 300.0, 1e5, 1e10, 3e38, -5.0, -80.0, -300.0, -1e10, np.inf, -np.inf, np.nan]
    expected, given = values_of(lambda x: {"expm1": tf.math.expm1(x), "log1p": tf.math.log1p(x)}, x)
    np.testing.assert_allclose(given["expm1"], expected["expm1"], rtol=3e-6)
    np.testing.assert_allclose(given["log1p"], expected["log1p"], rtol=1e-6)


UNDEFINED = {
    "logarithm of what is not chosen": lambda x: tf.where(x > 0, tf.math.log(x), 0.0),
    "norm of zeros": lambda x: tf.norm(tf.stack([x, 0 * x], -1), axis=-1) * 0.0,
    "normalized zeros": lambda x: x * tf.minimum(tf.math.rsqrt(x * x), 1e6),
    "reciprocal that is cut off": lambda x: tf.minimum(tf.math.reciprocal(tf.abs(x)), 5.0),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_infinite_slope_that_nothing_reaches_is_no_gradient(name):
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = UNDEFINED[name](x)
        return {"y": y, "gradient": tape.gradient(y, x)}

    expected, given = values_of(function, [0.0, 0.0, 0.7, -0.7])
    np.testing.assert_allclose(given["y"], expected["y"], rtol=1e-6)
    np.testing.assert_allclose(given["gradient"], expected["gradient"], rtol=1e-5)


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


@pytest.mark.grid(24)
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

    @tf.function(
        input_signature=[tf.TensorSpec((None, 5, 5, 1), tf.float32, name="x")], autograph=False
    )
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(gradient_of_sum(x))
        return {"gradient": tape.gradient(total, x)}

    session = onnxruntime.InferenceSession(
        content(convert(function, [])), providers=["CPUExecutionProvider"]
    )
    x = np.zeros((2, 5, 5, 1), "float32")
    x[:, 2, 2] = 1.0  # the largest pixel of all nine windows
    (gradient,) = session.run(["gradient"], {"x": x})
    assert (gradient[:, 2, 2] == 9.0).all()
    assert gradient.sum() == 18.0


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 2, "VALID"), (2, 2, "SAME")])
@pytest.mark.parametrize("low", [-2, 0], ids=["negative too", "after a ReLU"])
def test_of_equal_pixels_of_a_window_the_first_has_the_gradient(size, stride, padding, low):
    @tf.function(input_signature=[tf.TensorSpec((None, 9, 7, 16), tf.float32, name="x")])
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.nn.max_pool(x, size, stride, padding)
        weights = tf.reshape(tf.cast(tf.range(tf.size(y)), tf.float32) + 1.0, tf.shape(y))
        return {"gradient": tape.gradient(y, x, output_gradients=weights)}

    model = convert(function, [])
    # Not by the places that a pooling gives.
    assert all(len(node.output) == 1 for node in model.proto.graph.node)
    session = onnxruntime.InferenceSession(content(model), providers=["CPUExecutionProvider"])
    # Four values, and an image of one value: nearly every window has several largest pixels.
    x = np.random.default_rng(0).integers(low, low + 4, (3, 9, 7, 16)).astype("float32")
    x[0] = low
    (gradient,) = session.run(["gradient"], {"x": x})
    np.testing.assert_array_equal(gradient, function(tf.constant(x))["gradient"])


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


@pytest.mark.grid(24)
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


def test_factors_that_spread_a_gradient_over_the_channels():
    """A factor per channel moves into the kernel, unless its product makes the channels."""
    factors, weights = tf.constant([1.0, 2.0, 3.0, 4.0]), kernel(3, 3, 2, 4)

    def weighted_sum(x):
        return tf.reduce_sum(tf.nn.conv2d(x, weights, 1, "SAME") * factors, -1, keepdims=True)

    assert run_both(weighted_sum, (7, 6, 2)) < 1e-6
    assert run_both(lambda x: tf.nn.conv2d(x, weights, 1, "SAME") * factors, (7, 6, 2)) < 1e-6


@pytest.mark.grid(12)
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


def written(function, shape):
    """The kinds of operations of a function's input gradient."""
    specification = tf.TensorSpec((None, *shape), tf.float32, name="x")

    @tf.function(input_signature=[specification], autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return {"gradient": tape.gradient(y, x, output_gradients=y)}

    return {node.op_type for node in convert(gradient, []).proto.graph.node}


@pytest.mark.parametrize("stride", [1, 2])
def test_gradient_of_a_depthwise_convolution_is_no_transposed_one(stride):
    weights = kernel(3, 3, 16, 1)

    def padded(x):
        x = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])
        return tf.nn.depthwise_conv2d(x, weights, [1, stride, stride, 1], "VALID")

    assert run_both(padded, (8, 8, 16)) < 1e-6
    assert not written(padded, (8, 8, 16)) & {"ConvTranspose", "ScatterElements"}


@pytest.mark.parametrize("activation", [tf.nn.relu, tf.nn.relu6])
def test_gates_next_to_convolutions_leave_no_blocks(activation):
    weights = kernel(3, 3, 16, 16)

    def residual(x):
        y = activation(4.0 * tf.nn.conv2d(x, weights, 1, "SAME"))
        return activation(y + tf.nn.conv2d(y, weights, 1, "SAME"))

    assert run_both(residual, (6, 5, 16)) < 1e-6
    assert not written(residual, (6, 5, 16)) & {"Greater", "Less", "Where", "Cast", "Shape"}


@pytest.mark.parametrize("activation", [tf.nn.relu, tf.nn.relu6])
def test_gates_next_to_convolutions_are_open_between_their_ends_alone(activation):
    eye = tf.reshape(tf.eye(16), (1, 1, 16, 16))

    @tf.function(input_signature=[tf.TensorSpec((None, 1, 1, 16), name="x")], autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = activation(tf.nn.conv2d(x, eye, 1, "SAME"))
        return {"gradient": tape.gradient(y, x, output_gradients=tf.ones_like(x))}

    six = np.float32(6.0)
    ends = [-1e9, -1.0, -1e-20, 0.0, 1e-20, 1.0, np.nextafter(six, 0), six, np.nextafter(six, 7)]
    x = np.array([*ends, 7.0, 1e9, 3.0, -0.0, 5.999, 1e-6, 2e25], "float32").reshape(1, 1, 1, 16)
    session = onnxruntime.InferenceSession(
        content(convert(gradient, [])), providers=["CPUExecutionProvider"]
    )
    (given,) = session.run(["gradient"], {"x": x})
    np.testing.assert_array_equal(given, gradient(tf.constant(x))["gradient"])


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolution_and_its_gradient(padding, stride):
    weights = kernel(3, 3, 4, 2)
    sizes = {"SAME": [5 * stride, 4 * stride], "VALID": [4 * stride + 3, 3 * stride + 3]}[padding]

    def convolution(x):
        shape = tf.stack([tf.shape(x)[0], *sizes, 4])
        return tf.nn.conv2d_transpose(x, weights, shape, stride, padding)

    assert run_both(convolution, (5, 4, 2)) < 1e-6


@pytest.mark.grid(40)
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


@pytest.mark.grid(40)
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(5, 6), (13, 17), (8, 7), (3, 20)])
@pytest.mark.parametrize("shape", [(8, 7, 2), (None, None, 2)], ids=["static", "free"])
@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos3", "lanczos5"])
def test_resizing_by_a_kernel(method, size, shape, antialias):
    def resize(x):
        return tf.image.resize(x, size, method, antialias=antialias)

    assert run_both(resize, shape, batches=(2, 3)) < 1e-6


def test_resizing_that_moves_and_leaves_the_image():
    def resize(x):
        return tf.raw_ops.ScaleAndTranslate(
            images=x,
            size=[9, 5],
            scale=[0.7, 1.3],
            translation=[1.2, -0.7],
            kernel_type="triangle",
            antialias=True,
        )

    assert run_both(resize, (8, 7, 2)) < 1e-6


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
    "from the middle": lambda x: x[:, tf.shape(x)[1] // 2 :],
    "the second half": lambda x: x[:, -(tf.shape(x)[1] // 2) :, 1:],
    "from a third, strides": lambda x: x[:, tf.shape(x)[1] // 3 :: 2],
    "turned round from a free place": lambda x: x[:, tf.shape(x)[1] - 2 : 0 : -2],
    "the middle": lambda x: x[:, tf.shape(x)[1] // 2],
    "the largest row": lambda x: x[:, tf.argmax(tf.reduce_sum(x, [0, 2, 3]))],
}


@pytest.mark.grid(20)
@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("shape", [(7, 6, 2), (None, None, 2)], ids=["static", "free"])
def test_slice_gradient(name, shape):
    assert run_both(SLICES[name], shape) < 1e-6


def test_gradient_of_a_slice_that_is_turned_round_begins_at_the_end():
    assert run_both(SLICES["turned round"], (7, 6, 2)) < 1e-6


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


@pytest.mark.grid(5)
@pytest.mark.parametrize("name", BROADCASTS)
@pytest.mark.parametrize("shape", [(5, 6), (None, 6)], ids=["static", "free"])
def test_broadcast_gradient(name, shape):
    assert run_both(BROADCASTS[name], shape) < 2e-6


PRODUCTS = {
    "...x,xy->...y": (6, 4),
    "abx,xy->aby": (6, 4),
    "abx,yx->aby": (4, 6),
    "...x,x->...": (6,),
    "abA,Aa->abA": None,
    "xA...,...->x...": (6,),
}


@pytest.mark.grid(3)
@pytest.mark.parametrize("equation", PRODUCTS)
@pytest.mark.parametrize("shape", [(5, 6), (None, 6)], ids=["static", "free"])
def test_product_gradient(equation, shape):
    sizes = PRODUCTS[equation]
    if sizes is None:
        # The two letters are one axis each, of the sizes 6 and the batch's.
        assert run_both(lambda x: tf.einsum(equation, x, tf.transpose(x[:, 0])), shape) < 1e-6
    else:
        assert run_both(lambda x: tf.einsum(equation, x, kernel(*sizes)), shape) < 1e-6


def test_product_gradient_of_a_diagonal():
    assert run_both(lambda x: tf.einsum("...bb->...b", x), (6, 6)) < 1e-6
    assert run_both(lambda x: tf.einsum("abb,acb->ac", x, x), (6, 6)) < 1e-6


MATRICES = {
    "diagonal": lambda x: tf.square(tf.linalg.diag_part(x)),
    "trace": lambda x: tf.square(tf.linalg.trace(x)),
    "diagonal matrix": lambda x: tf.square(tf.linalg.diag(x) + 1.0),
    "identity": lambda x: x * tf.eye(tf.shape(x)[1], tf.shape(x)[2]),
}


@pytest.mark.grid(12)
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("shape", [(5, 6), (6, 6), (7, 6), (None, 6)])
def test_matrix_gradient(name, shape):
    assert run_both(MATRICES[name], shape) < 1e-6


def test_other_diagonals_and_orders_are_refused():
    with pytest.raises(ValueError, match="only the main diagonal"):
        run_both(lambda x: tf.linalg.diag_part(x, k=1), (5, 5))
    with pytest.raises(ValueError, match="order that no two runtimes share"):
        run_both(lambda x: tf.math.top_k(x, 3, sorted=False)[0], (5, 6))


SHAPES = {
    "ConcatOffset": lambda x: tf.square(tf.concat([x, 2 * x[:, 1:], x], 1)),
    "DynamicStitch": lambda x: tf.square(tf.reduce_max(x, 1)) + tf.reduce_prod(x, 1),
    "ShapeN": lambda x: tf.square(tf.reshape(x, [-1, tf.shape(x)[2]])),
}


@pytest.mark.grid(3)
@pytest.mark.parametrize("operation", SHAPES)
@pytest.mark.parametrize("shape", [(5, 6), (None, 6)], ids=["static", "free"])
def test_arithmetic_on_shapes(operation, shape):
    assert run_both(SHAPES[operation], shape, low=0.5, high=1.5) < 1e-6


@pytest.mark.parametrize("sides", [(False, True), (True, False), (True, True), (False, False)])
def test_a_product_with_a_transposed_matrix_is_one_operation(sides):
    def product(x):
        left = tf.transpose(x) if sides[0] else x
        right = kernel(6, 5) if sides[1] else kernel(5, 6)
        return tf.linalg.matmul(left, right, transpose_a=sides[0], transpose_b=sides[1])

    assert run_both(product, (5,)) < 1e-6


def test_a_matrix_that_is_needed_both_ways_is_in_the_file_once():
    weight = tf.Variable(kernel(50, 60))

    @tf.function(input_signature=[tf.TensorSpec((None, 50), tf.float32, name="x")], autograph=False)
    def function(x):
        return {"y": tf.matmul(tf.nn.relu(tf.matmul(x, weight)), weight, transpose_b=True)}

    model = convert(function, [])
    kinds = sorted(node.op_type for node in model.proto.graph.node)
    assert kinds == ["Gemm", "MatMul", "Relu"]
    (value,) = model.weights.values()
    np.testing.assert_array_equal(value, weight.numpy())


def test_sign_bit_tells_negative_zero():
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")], autograph=False)
    def function(x):
        mask = tf.constant(np.iinfo("int32").min)
        return {"negative": tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), mask) < 0}

    session = onnxruntime.InferenceSession(
        content(convert(function, [])), providers=["CPUExecutionProvider"]
    )
    x = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf], "float32")
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], np.signbit(x))


def test_other_uses_of_bits_are_refused():
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")], autograph=False)
    def function(x):
        return {"bits": tf.bitcast(x, tf.int32) + 1}

    with pytest.raises(ValueError, match="the bits of a number cannot be read"):
        convert(function, [])


def test_every_rule_says_what_it_computes():
    for operation, rule in RULES.items():
        assert rule.__doc__, operation
