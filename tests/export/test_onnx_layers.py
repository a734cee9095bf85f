"""Small networks of every Keras layer, their ODIN score and input gradient in onnxruntime."""

import itertools

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_lodin.detectors import ODINDetector
from keras_lodin.export.onnx.conversion import convert
from keras_lodin.export.parity import differences
from keras_lodin.export.serving_function import serving_function
from keras_lodin.utils.keras_internals import layer_names
from tests.export.networks import content

ACTIVATIONS = sorted(
    {name for name in dir(keras.activations) if not name.startswith("_")}
    - {"get", "serialize", "deserialize"}
)

IMAGE = (8, 7, 4)


def chain(shape, *steps):
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    if len(x.shape) > 2:
        flat = None not in x.shape[1:]
        x = layers.Flatten()(x) if flat else layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(5)(x))


def merge(function):
    """A network that merges two branches, (batch, 5, 6) each."""
    inputs = keras.Input((5, 6))
    first = layers.Dense(6)(inputs)
    x = function(first, layers.Dense(6, activation="tanh")(inputs))
    if len(x.shape) > 2:
        x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(5)(x))


def assert_same_in_onnxruntime(classifier, free_sizes=(21,)):
    for weight in classifier.weights:
        # Keras starts biases at zero and scales at one, where half of the mistakes do not show.
        noise = np.random.default_rng(1).normal(size=weight.shape)
        weight.assign_add(ops.cast(0.05 * np.abs(noise), weight.dtype))
    detector = ODINDetector(classifier, temperature=10.0, epsilon=0.02)
    function = serving_function(detector, with_gradient=True)
    model = content(convert(function, layer_names(classifier)))
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rng = np.random.default_rng(0)
    threshold = np.array(0.0, "float32")
    for count, free_size in itertools.product((1, 7), free_sizes):
        shape = [free_size if size is None else size for size in classifier.input_shape[1:]]
        x = rng.uniform(-1, 1, (count, *shape)).astype("float32")
        expected = function(tf.constant(x), tf.constant(threshold))
        expected = {name: value.numpy() for name, value in expected.items()}
        given = session.run(names, {"images": x, "threshold": threshold})
        found = differences(expected, dict(zip(names, given, strict=True)))
        assert found["gradient"] < 1e-5
        assert found["signs"] == 0.0
        assert found["logits"] < 1e-5
        assert found["score"] < 1e-4


@pytest.mark.grid(20)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    activation = getattr(keras.activations, name)

    class Activation(keras.layers.Layer):
        def call(self, inputs):
            return activation(inputs, 0.1, 0.0) if name == "threshold" else activation(inputs)

    assert_same_in_onnxruntime(chain((6,), layers.Dense(8), Activation()))


CONVOLUTIONS = {
    "plain": {},
    "strides, same": {"strides": 2, "padding": "same"},
    "strides above the kernel": {"kernel_size": 2, "strides": 3},
    "dilation": {"dilation_rate": 2},
    "dilation, same": {"dilation_rate": 2, "padding": "same"},
}


@pytest.mark.grid(8)
@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolution(rank, options):
    layer = getattr(layers, f"Conv{rank}D")
    options = {"kernel_size": 3, **CONVOLUTIONS[options]}
    assert_same_in_onnxruntime(chain((*(9, 8, 7)[:rank], 4), layer(6, **options)))


@pytest.mark.grid(12)
@pytest.mark.parametrize("options", ["plain", "strides, same", "dilation, same"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_grouped_convolution(rank, options):
    layer = getattr(layers, f"Conv{rank}D")
    step = layer(6, groups=2, **{"kernel_size": 3, **CONVOLUTIONS[options]})
    assert_same_in_onnxruntime(chain((*(7, 6, 5)[:rank], 4), step))


def test_causal_convolution():
    layer = layers.Conv1D(6, 3, padding="causal", dilation_rate=2)
    assert_same_in_onnxruntime(chain((9, 4), layer))


@pytest.mark.grid(15)
@pytest.mark.parametrize("options", ["plain", "strides, same", "dilation"])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("kind", ["DepthwiseConv", "SeparableConv"])
def test_depthwise_and_separable_convolution(kind, rank, options):
    options = CONVOLUTIONS[options]
    layer = getattr(layers, f"{kind}{rank}D")
    if kind == "SeparableConv":
        step = layer(5, 3, depth_multiplier=2, **options)
    else:
        step = layer(3, depth_multiplier=2, **options)
    assert_same_in_onnxruntime(chain((*(9, 8)[:rank], 4), step))


@pytest.mark.grid(8)
@pytest.mark.parametrize("options", ["plain", "strides, same"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolution(rank, options):
    layer = getattr(layers, f"Conv{rank}DTranspose")
    step = layer(6, 3, **CONVOLUTIONS[options])
    assert_same_in_onnxruntime(chain((*(5, 4, 3)[:rank], 4), step))


@pytest.mark.grid(10)
@pytest.mark.parametrize(
    "options",
    [{}, {"strides": 2, "padding": "same"}, {"strides": 1}],
    ids=["plain", "same", "overlapping"],
)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_pooling(kind, rank, options):
    layer = getattr(layers, f"{kind}Pooling{rank}D")
    assert_same_in_onnxruntime(chain((*(9, 8, 7)[:rank], 3), layer(3, **options)))


@pytest.mark.grid(15)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["GlobalMax", "GlobalAverage", "AdaptiveMax", "AdaptiveAverage"])
def test_global_and_adaptive_pooling(kind, rank):
    name = f"{kind}Pooling{rank}D"
    if not hasattr(layers, name):
        pytest.skip(f"this Keras has no {name}")
    step = getattr(layers, name)(*([3] if kind.startswith("Adaptive") else []))
    assert_same_in_onnxruntime(chain((*(9, 8, 7)[:rank], 3), step))


@pytest.mark.grid(4)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_upsampling_padding_and_cropping(rank):
    steps = [
        getattr(layers, f"UpSampling{rank}D")(2),
        getattr(layers, f"ZeroPadding{rank}D")(2),
        getattr(layers, f"Cropping{rank}D")(1),
    ]
    assert_same_in_onnxruntime(chain((*(4, 3, 5)[:rank], 2), *steps))


LAYERS = {
    "batch normalization": lambda: layers.BatchNormalization(),
    "layer normalization": lambda: layers.LayerNormalization(),
    "group normalization": lambda: layers.GroupNormalization(2),
    "unit normalization": lambda: layers.UnitNormalization(),
    "rms normalization": lambda: layers.RMSNormalization(),
    "spectral normalization": lambda: layers.SpectralNormalization(layers.Conv2D(4, 3)),
    "normalization": lambda: layers.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 2, 3, 4]),
    "rescaling": lambda: layers.Rescaling(1 / 2.0, offset=-1.0),
    "resizing, bilinear": lambda: layers.Resizing(11, 5),
    "resizing, nearest": lambda: layers.Resizing(11, 5, interpolation="nearest"),
    "resizing, bicubic": lambda: layers.Resizing(11, 5, interpolation="bicubic"),
    "resizing, lanczos": lambda: layers.Resizing(11, 5, interpolation="lanczos3"),
    "resizing, antialias": lambda: layers.Resizing(5, 4, antialias=True),
    "resizing, cropped": lambda: layers.Resizing(6, 6, crop_to_aspect_ratio=True),
    "upsampling, bicubic": lambda: layers.UpSampling2D((3, 2), interpolation="bicubic"),
    "cropped to the center": lambda: layers.CenterCrop(5, 4),
    "random colors, none at inference": lambda: layers.RandomSaturation(0.2, value_range=(0, 1)),
    "unit normalization over axes": lambda: layers.UnitNormalization(axis=[1, 2]),
    "upsampling, bilinear": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
    "permute": lambda: layers.Permute((2, 1, 3)),
    "reshape": lambda: layers.Reshape((4, -1)),
    "dropout": lambda: layers.Dropout(0.5),
    "spatial dropout": lambda: layers.SpatialDropout2D(0.5),
    "gaussian noise": lambda: layers.GaussianNoise(0.5),
    "prelu": lambda: layers.PReLU(shared_axes=[1, 2]),
    "relu with all its options": lambda: layers.ReLU(0.4, negative_slope=0.1, threshold=0.05),
    "softmax over an axis": lambda: layers.Softmax(axis=1),
    "einsum dense, any rank": lambda: layers.EinsumDense("...x,xy->...y", 6, bias_axes="y"),
    "einsum dense": lambda: layers.EinsumDense("abcd,de->abce", output_shape=(None, None, 6)),
    "time distributed": lambda: layers.TimeDistributed(layers.Dense(3)),
}


@pytest.mark.grid(20)
@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    assert_same_in_onnxruntime(chain(IMAGE, LAYERS[name]()))


RECURRENT = {
    "lstm": lambda: layers.LSTM(4, unroll=True),
    "gru": lambda: layers.GRU(4, unroll=True),
    "simple": lambda: layers.SimpleRNN(4, unroll=True),
    "bidirectional": lambda: layers.Bidirectional(layers.LSTM(3, unroll=True)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECURRENT)
def test_unrolled_recurrent_layer(name):
    assert_same_in_onnxruntime(chain((4, 3), RECURRENT[name]()))


MERGES = {
    **{
        name: (lambda a, b, name=name: getattr(layers, name)()([a, b]))
        for name in (
            "Add",
            "Subtract",
            "Multiply",
            "Average",
            "Maximum",
            "Minimum",
            "Concatenate",
            "Attention",
            "AdditiveAttention",
        )
    },
    "Dot": lambda a, b: layers.Dot(axes=(2, 2))([a, b]),
    "MultiHeadAttention": lambda a, b: layers.MultiHeadAttention(2, 3)(a, b),
    "causal attention": lambda a, b: layers.MultiHeadAttention(2, 3)(a, b, use_causal_mask=True),
    "GroupQueryAttention": lambda a, b: layers.GroupQueryAttention(3, 4, 2)(a, b),
    "excitation": lambda a, b: a * layers.GlobalAveragePooling1D(keepdims=True)(b),
    "slices": lambda a, b: a[:, ::2, 1:4] - b[:, 1:4, -3:],
    "turned round": lambda a, b: a[:, ::-1] * b[:, 0:1],
    "split and stack": lambda a, b: ops.stack([ops.split(a, 2, axis=-1)[0], b[..., 3:]], axis=1),
    "statistics": lambda a, b: ops.mean(a, axis=1) * ops.var(b, axis=1) + ops.std(b, axis=1),
    "largest": lambda a, b: ops.logsumexp(a, axis=1) + ops.max(b, axis=1) - ops.min(a, axis=1),
    "reflection": lambda a, b: ops.pad(a * b, ((0, 0), (1, 2), (2, 0)), mode="reflect"),
    "take": lambda a, b: ops.take(a, [0, 2, 2], axis=1) * b[:, :3],
    "repeat and tile": lambda a, b: ops.repeat(a, 2, axis=1) * ops.tile(b, (1, 2, 1)),
    "roll": lambda a, b: ops.roll(a, 2, axis=1) * b,
    "choice": lambda a, b: ops.where(a > b, a, b * 2) + ops.clip(a, -0.5, 0.5),
    "products": lambda a, b: ops.einsum("abc,adc->abd", a, b) + a @ ops.transpose(b, (0, 2, 1)),
    "functions": lambda a, b: ops.sqrt(b + 3) + ops.log(b + 3) * ops.exp(a) + ops.sin(a) / (b + 3),
    "powers": lambda a, b: (ops.abs(a) + 0.1) ** 1.5 + ops.square(b) + ops.rsqrt(b + 3),
    "logarithms": lambda a, b: ops.logaddexp(a, b) + ops.log1p(ops.abs(b)) + ops.expm1(a),
    "cumulative sum": lambda a, b: ops.cumsum(a, axis=1) * b,
    "normalize": lambda a, b: ops.normalize(a) * b,
    "trace": lambda a, b: a * ops.trace(b, axis1=1, axis2=2)[:, None, None],
    "sorted": lambda a, b: ops.sort(a, axis=1) * ops.top_k(b, 6)[0],
    "levels": lambda a, b: a * ops.cast(ops.digitize(b, np.array([0.0, 0.5])), "float32"),
}


@pytest.mark.grid(48)
@pytest.mark.parametrize("name", MERGES)
def test_merge(name):
    assert_same_in_onnxruntime(merge(MERGES[name]))


FREE = {
    "convolution and pooling": lambda: [
        layers.Conv2D(4, 3, strides=2, padding="same", activation="gelu"),
        layers.MaxPooling2D(3, 2, padding="same"),
        layers.AveragePooling2D(2, padding="same"),
        layers.DepthwiseConv2D(3, strides=2, padding="same"),
    ],
    "gaps between windows": lambda: [
        layers.MaxPooling2D(1, 2, padding="same"),
        layers.AveragePooling2D(2, 3, padding="same"),
    ],
    "dilation": lambda: [layers.Conv2D(4, 3, dilation_rate=2, padding="same")],
    "upsampling": lambda: [layers.Conv2D(4, 3), layers.UpSampling2D(2)],
    "transposed": lambda: [layers.Conv2DTranspose(4, 3, strides=2, padding="same")],
    "padding": lambda: [layers.ZeroPadding2D(1), layers.Cropping2D(((1, 0), (0, 1)))],
    "normalization": lambda: [layers.GroupNormalization(3), layers.LayerNormalization()],
    "resizing": lambda: [layers.Resizing(6, 9)],
    "resizing, cropped": lambda: [layers.Resizing(6, 6, crop_to_aspect_ratio=True)],
    "cropped to the center": lambda: [layers.CenterCrop(12, 9)],
    "excitation": lambda: [lambda x: x * layers.GlobalAveragePooling2D(keepdims=True)(x)],
}


@pytest.mark.grid(12)
@pytest.mark.parametrize("name", FREE)
def test_free_image_size(name):
    classifier = chain((None, None, 3), *FREE[name]())
    assert_same_in_onnxruntime(classifier, free_sizes=(21, 24))


def vision_transformer(blocks):
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(12, 4, strides=4)(inputs)
    x = layers.Reshape((16, 12))(x)
    x = x + layers.Embedding(16, 12)(ops.arange(16))
    for _ in range(blocks):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(3, 4)(y, y)
        y = layers.Dense(24, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(12)(y)
    return keras.Model(inputs, layers.Dense(5)(layers.LayerNormalization()(x)[:, 0]))


def mlp_mixer(blocks):
    inputs = keras.Input((16, 16, 3))
    x = layers.Reshape((16, 12))(layers.Conv2D(12, 4, strides=4)(inputs))
    for _ in range(blocks):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Dense(16)(layers.Dense(20, activation="gelu")(y))
        x = x + layers.Permute((2, 1))(y)
        y = layers.Dense(24, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(12)(y)
    return keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.slow
@pytest.mark.grid(2)
@pytest.mark.parametrize("blocks", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("network", [vision_transformer, mlp_mixer])
def test_network_without_convolutions_inside(network, blocks):
    assert_same_in_onnxruntime(network(blocks))
