"""Small networks of every kind of layer, and TensorFlow's own derivatives of them."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

CLASSES = 4
IMAGE = (6, 8, 4)
SERIES = (8, 4)
VOLUME = (4, 4, 4, 2)


def merge(layer):
    return lambda x: layer([layers.Conv2D(3, 1)(x), layers.Conv2D(3, 3, padding="same")(x)])


def squeeze_and_excitation(x):
    x = layers.Conv2D(4, 3, activation="silu")(x)
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = layers.Conv2D(4, 1, activation="sigmoid")(
        layers.Conv2D(2, 1, activation="tanh")(weights)
    )
    return layers.Multiply()([x, weights])


def scaled_residual(x):
    y = layers.Conv2D(4, 3, padding="same", activation="tanh")(x)
    return x * 0.7 + 0.3 * y - 1.5


def strided_slices(x):
    x = layers.Conv2D(4, 3, padding="same")(x)
    return ops.tanh(x[:, ::2, 1:-1:2]) * x[:, 1::2, :-2:2]


def normalized(layer):
    return lambda x: ops.tanh(layer(layers.Conv2D(4, 3, padding="same")(x)))


def dense_after(layer):
    return lambda x: layers.Dense(8, activation="tanh")(layer(x))


ACTIVATIONS = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "tanh",
    "tanh_shrink",
)

# By name: what lies between the input and a dense layer, and the input's shape.
BLOCKS = {
    "convolution": (lambda x: layers.Conv2D(3, 3, activation="relu")(x), IMAGE),
    "strided": (lambda x: layers.Conv2D(3, 3, 2, activation="tanh")(x), IMAGE),
    "strided same": (lambda x: layers.Conv2D(3, 3, 2, "same", activation="tanh")(x), IMAGE),
    "one side strided": (lambda x: layers.Conv2D(3, (1, 3), (1, 2), activation="tanh")(x), IMAGE),
    "dilated": (lambda x: layers.Conv2D(3, 3, dilation_rate=2, activation="tanh")(x), IMAGE),
    "without bias": (lambda x: layers.Conv2D(3, 3, use_bias=False, activation="tanh")(x), IMAGE),
    "depthwise": (lambda x: layers.DepthwiseConv2D(3, 2, activation="tanh")(x), IMAGE),
    "depth multiplied": (
        lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh")(x),
        IMAGE,
    ),
    "separable": (lambda x: layers.SeparableConv2D(3, 3, activation="tanh")(x), IMAGE),
    "transposed": (lambda x: layers.Conv2DTranspose(3, 3, 2, activation="tanh")(x), IMAGE),
    "maximum pooling": (
        lambda x: layers.MaxPooling2D(2)(layers.Conv2D(3, 3, activation="tanh")(x)),
        IMAGE,
    ),
    "overlapping pooling": (
        lambda x: ops.tanh(layers.MaxPooling2D(3, 1)(layers.Conv2D(3, 3)(x))),
        IMAGE,
    ),
    "average pooling": (
        lambda x: layers.AveragePooling2D(2)(layers.Conv2D(3, 3, activation="tanh")(x)),
        IMAGE,
    ),
    "average pooling, padded": (
        lambda x: ops.tanh(layers.AveragePooling2D(3, 2, padding="same")(x)),
        IMAGE,
    ),
    "global average": (
        lambda x: layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3, activation="tanh")(x)),
        IMAGE,
    ),
    "global maximum": (
        lambda x: layers.GlobalMaxPooling2D()(layers.Conv2D(3, 3, activation="tanh")(x)),
        IMAGE,
    ),
    "batch normalization": (normalized(layers.BatchNormalization()), IMAGE),
    "batch normalization of the inputs": (dense_after(layers.BatchNormalization()), IMAGE),
    "batch normalization without factors": (
        normalized(layers.BatchNormalization(scale=False, center=False)),
        IMAGE,
    ),
    "layer normalization": (normalized(layers.LayerNormalization()), IMAGE),
    "layer normalization of two axes": (normalized(layers.LayerNormalization(axis=(2, 3))), IMAGE),
    "group normalization": (normalized(layers.GroupNormalization(2)), IMAGE),
    "unit normalization": (normalized(layers.UnitNormalization()), IMAGE),
    "concatenation": (merge(layers.Concatenate()), IMAGE),
    "addition": (merge(layers.Add()), IMAGE),
    "subtraction": (merge(layers.Subtract()), IMAGE),
    "product": (merge(layers.Multiply()), IMAGE),
    "average": (merge(layers.Average()), IMAGE),
    "maximum": (merge(layers.Maximum()), IMAGE),
    "minimum": (merge(layers.Minimum()), IMAGE),
    "scalar product": (
        lambda x: layers.Dot(-1)(
            [layers.Dense(3)(layers.Flatten()(x)), layers.Dense(3)(layers.Flatten()(x))]
        ),
        IMAGE,
    ),
    "squeeze and excitation": (squeeze_and_excitation, IMAGE),
    "scaled residual": (scaled_residual, IMAGE),
    "slices": (strided_slices, IMAGE),
    "reshaped": (lambda x: ops.tanh(layers.Reshape((12, 16))(x)), IMAGE),
    "permuted": (lambda x: layers.Conv2D(3, 3)(ops.tanh(layers.Permute((2, 3, 1))(x))), IMAGE),
    "padded": (lambda x: layers.Conv2D(3, 3)(ops.tanh(layers.ZeroPadding2D(2)(x))), IMAGE),
    "cropped": (lambda x: ops.tanh(layers.Cropping2D(1)(x)), IMAGE),
    # TensorFlow's own second derivative of this one is right in eager mode only.
    "max pooling that keeps the size": (
        lambda x: layers.MaxPooling2D(3, 1, padding="same")(layers.Conv2D(3, 3)(x)),
        IMAGE,
    ),
    "upsampled": (lambda x: layers.Conv2D(3, 3, 2)(ops.tanh(layers.UpSampling2D(2)(x))), IMAGE),
    "rescaled": (lambda x: ops.tanh(layers.Rescaling(0.5, 0.1)(x)), IMAGE),
    "split": (lambda x: ops.multiply(*ops.split(layers.Conv2D(4, 3)(x), 2, axis=-1)), IMAGE),
    "mean and variance": (lambda x: ops.mean(x**2, axis=(1, 2)) - ops.var(x, axis=(1, 2)), IMAGE),
    "sums of products": (lambda x: ops.einsum("bhwc,bhwd->bcd", x, ops.tanh(x)), IMAGE),
    "clipped and divided": (lambda x: ops.clip(x, -0.7, 0.7) / (1.5 + ops.sin(x)), IMAGE),
    "causal": (lambda x: layers.Conv1D(3, 3, padding="causal", activation="tanh")(x), SERIES),
    "dilated series": (
        lambda x: layers.Conv1D(3, 2, dilation_rate=2, activation="tanh")(x),
        SERIES,
    ),
    "pooled series": (lambda x: layers.GlobalMaxPooling1D()(layers.Conv1D(5, 3)(x)), SERIES),
    "normalized series": (
        lambda x: ops.tanh(layers.BatchNormalization()(layers.Conv1D(5, 3)(x))),
        SERIES,
    ),
    "attention": (lambda x: layers.Attention()([ops.tanh(x), x]), SERIES),
    "attention with several heads": (
        lambda x: x + layers.MultiHeadAttention(2, 3)(layers.LayerNormalization()(x), x),
        SERIES,
    ),
    "volume": (lambda x: layers.Conv3D(3, 2, activation="tanh")(x), VOLUME),
    "pooled volume": (
        lambda x: ops.tanh(layers.AveragePooling3D(2)(layers.Conv3D(3, 3, padding="same")(x))),
        VOLUME,
    ),
    "gated": (lambda x: keras.activations.glu(layers.Dense(6)(x)), (10,)),
    "vector": (lambda x: layers.Dense(8, activation="tanh")(x), (10,)),
    "normalized vector": (
        lambda x: ops.tanh(layers.BatchNormalization()(layers.Dense(8)(x))),
        (10,),
    ),
    **{
        name: (lambda x, name=name: layers.Activation(name)(layers.Dense(6)(x)), (10,))
        for name in ACTIVATIONS
    },
}

# Layers that take images of any size, with what turns them into a vector.
ANY_SIZE = (
    "convolution",
    "strided same",
    "dilated",
    "depthwise",
    "separable",
    "transposed",
    "maximum pooling",
    "average pooling, padded",
    "batch normalization",
    "layer normalization",
    "unit normalization",
    "concatenation",
    "addition",
    "product",
    "squeeze and excitation",
    "scaled residual",
    "slices",
    "padded",
    "upsampled",
    "clipped and divided",
)

# Keras runs these in a graph of their own, one more operation for a walk.
CALLED = {
    "grouped": (lambda x: layers.Conv2D(4, 3, groups=2, activation="tanh")(x), IMAGE),
    "function": (lambda x: InAFunction()(x), (10,)),
}

# Around a loop no walk can go.
LOOPS = {"recurrent": (lambda x: layers.SimpleRNN(5)(x), SERIES)}


class InAFunction(layers.Layer):
    """Multiplies by a weight and squashes, in a `tf.function` of its own."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5))
        self._function = tf.function(lambda x, kernel: tf.tanh(x @ kernel))

    def call(self, x):
        return self._function(x, tf.convert_to_tensor(self.kernel))

    def compute_output_shape(self, shape):
        return (shape[0], 5)


# Whose second derivative TensorFlow does not know; the walks do.
ONCE = {
    "softsign": (lambda x: layers.Activation("softsign")(layers.Dense(6)(x)), (10,)),
    "resized": (lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x), IMAGE),
}


@contextlib.contextmanager
def moving_moments():
    """Keras's moments with a mean that moves, so that TensorFlow's tape is right twice.

    `tf.nn.moments` keeps the gradient of the variance away from the mean.
    """

    def moments(x, axes, keepdims):
        mean = tf.reduce_mean(x, axes, keepdims=True)
        variance = tf.reduce_mean(tf.square(x - mean), axes, keepdims=True)
        if keepdims:
            return mean, variance
        return tf.squeeze(mean, axes), tf.squeeze(variance, axes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras.src.backend.tensorflow.nn._compute_moments", moments)
        yield


def build(block, shape, any_size=False):
    """A classifier, its weights and statistics drawn as a trained network could have them."""
    inputs = keras.Input((None, None, shape[-1]) if any_size else shape)
    x = block(inputs)
    if any_size and len(x.shape) > 2:
        x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if "variance" in variable.path:
            variable.assign(rng.uniform(0.5, 2.0, size=variable.shape))
        elif "gamma" in variable.path or "beta" in variable.path or "bias" in variable.path:
            variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
        elif "seed" not in variable.path:
            variable.assign(rng.normal(size=variable.shape) / np.sqrt(variable.shape[0] + 4))
    return model


def make(name, any_size=False):
    """A classifier by the name of its block, and a batch of three inputs."""
    block, shape = {**BLOCKS, **CALLED, **LOOPS, **ONCE}[name]
    model = build(block, shape, any_size)
    x = np.random.default_rng(2).normal(size=(3, *shape)).astype("float32")
    return model, x


def specification(model, x, sizes):
    """The signature of a traced function of x: "fixed", or with "free batch" or "free sizes"."""
    shape = {"fixed": x.shape, "free batch": (None, *x.shape[1:])}.get(sizes)
    return tf.TensorSpec(shape or (None, *model.input_shape[1:]), tf.float32)


def trainable(model):
    return [variable.value for variable in model.trainable_variables]


def assert_close(found, expected, tolerance=1e-4):
    """Equal relative to the largest number of each tensor, but for the rounding of the largest."""
    expected = [np.asarray(value, "float64") for value in tf.nest.flatten(expected)]
    rounding = 1e-6 * max(np.abs(value).max() for value in expected)
    for a, b in zip(tf.nest.flatten(found), expected, strict=True):
        a = np.asarray(a, "float64")
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max() + rounding)
