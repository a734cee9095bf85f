"""Ends of classifiers: those whose logits are found, and those that are refused."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

CLASSES, FEATURES = 4, 12
registered = keras.saving.register_keras_serializable(package="keras_lodin_tests")


@registered
class CosineDense(layers.Dense):
    """A head as ArcFace has it: a `Dense` with another product."""

    def call(self, inputs, training=None):
        unit = inputs / ops.norm(inputs, axis=-1, keepdims=True)
        return self.activation(10.0 * unit @ (self.kernel / ops.norm(self.kernel, axis=0)))


@registered
class SmoothedDense(layers.Dense):
    """What it returns is not what its activation does."""

    def call(self, inputs, training=None):
        return 0.9 * super().call(inputs) + 0.1 / self.units


@registered
class SharpDense(layers.Dense):
    """A softmax that is no activation."""

    def call(self, inputs, training=None):
        return ops.softmax(2.0 * super().call(inputs))


@registered
class SharpActivation(layers.Activation):
    def call(self, inputs):
        return ops.softmax(2.0 * inputs)


@registered
class Softmax(layers.Layer):
    """Merely called so."""

    def call(self, inputs):
        return 2.0 * inputs


@registered
class HeadLayer(layers.Layer):
    """A layer of a user, with its activation as an attribute."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(CLASSES)
        self.activation = keras.activations.softmax

    def call(self, inputs):
        return self.activation(self.dense(inputs))


@registered
class ScalingModel(keras.Model):
    """A functional model with a `call` of its own."""

    def call(self, inputs, training=None):
        return super().call(3.0 * inputs, training=training)


@registered
class ScalingCall(keras.Model):
    """A functional model whose graph is not all that calling it does."""

    def __call__(self, inputs, *args, **kwargs):
        return super().__call__(3.0 * inputs, *args, **kwargs)


@registered
class CheckingCall(keras.Model):
    """One that looks at its inputs, and leaves them as they are."""

    def __call__(self, inputs, *args, **kwargs):
        assert inputs is not None
        return super().__call__(inputs, *args, **kwargs)


@registered
class ScalingSequential(keras.Sequential):
    def call(self, inputs, training=None):
        return super().call(3.0 * inputs, training=training)


def ending_in(*head, kind=keras.Sequential):
    def make():
        made = [layer() for layer in head]
        return kind([keras.Input((FEATURES,)), layers.Dense(8, "relu"), *made])

    return make


def through(function, kind=keras.Model):
    """A functional model whose end is a function of the features."""

    def make():
        inputs = keras.Input((FEATURES,))
        return kind(inputs, function(layers.Dense(8, "relu")(inputs)))

    return make


def dense(activation=None, kind=layers.Dense, **options):
    return lambda: kind(CLASSES, activation=activation, **options)


def einsum_dense():
    return layers.EinsumDense(
        "ab,bc->ac", output_shape=CLASSES, bias_axes="c", activation="softmax"
    )


def quantized(mode, head=None):
    def make():
        model = ending_in(head or dense("softmax"))()
        model.layers[0].quantize(mode)
        model.layers[-1].quantize(mode)
        return model

    return make


def with_lora(make=None):
    def made():
        model = (make or ending_in(dense("softmax")))()
        add_lora(model.layers[-1])
        return model

    return made


def add_lora(layer):
    layer.enable_lora(2)
    shape = layer.lora_kernel_b.shape
    layer.lora_kernel_b.assign(np.random.default_rng(0).normal(size=shape))


def under(policy, make):
    def made():
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return make()
        finally:
            keras.config.set_dtype_policy(before)

    return made


def by_hand(features):
    logits = layers.Dense(CLASSES)(features)
    powers = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    return powers / ops.sum(powers, axis=-1, keepdims=True)


def masked_by_inputs():
    inputs = keras.Input((FEATURES,))
    mask = ops.greater(inputs[:, :CLASSES], 0.3)
    return keras.Model(inputs, layers.Softmax()(layers.Dense(CLASSES)(inputs), mask=mask))


def masked_by_a_masking_layer():
    """As a pointer network has it: the steps of a series are the classes."""
    inputs = keras.Input((FEATURES,))
    steps = layers.Masking()(layers.Reshape((FEATURES, 1))(inputs))
    scores = layers.Dense(1)(layers.Dense(3, "tanh")(steps))
    return keras.Model(inputs, layers.Softmax()(ops.squeeze(scores, -1)))


def masked_by_a_constant():
    inputs = keras.Input((FEATURES,))
    mask = np.array([[True, True, False, True]])
    return keras.Model(inputs, layers.Softmax()(layers.Dense(CLASSES)(inputs), mask=mask))


def convolutional():
    inputs = keras.Input((FEATURES,))
    image = layers.Reshape((1, 1, FEATURES))(inputs)
    return keras.Model(
        inputs, layers.Flatten()(layers.Conv2D(CLASSES, 1, activation="softmax")(image))
    )


def with_one_softmax_layer_used_twice():
    inputs, softmax = keras.Input((FEATURES,)), layers.Softmax()
    attention = softmax(layers.Dense(FEATURES)(inputs))
    return keras.Model(inputs, softmax(layers.Dense(CLASSES)(inputs * attention)))


def nested(make):
    def made():
        inputs = keras.Input((FEATURES,))
        outputs = keras.Sequential([keras.Input((FEATURES,)), make()])(inputs)
        return keras.Model(inputs, layers.Activation("linear", dtype="float32")(outputs))

    return made


# Their softmax is found, and the logits behind it.
SOFTMAX = {
    "Dense": ending_in(dense("softmax")),
    "Dense and Activation": ending_in(dense(), lambda: layers.Activation("softmax")),
    "Dense and Softmax": ending_in(dense(), layers.Softmax),
    "Softmax over axis 1": ending_in(dense(), lambda: layers.Softmax(axis=1)),
    "keras.ops.softmax": through(lambda x: ops.softmax(layers.Dense(CLASSES)(x))),
    "tf.nn.softmax as an activation": ending_in(dense(tf.nn.softmax)),
    "a layer as an activation": ending_in(lambda: layers.Dense(CLASSES, layers.Softmax())),
    "a lambda as an activation": ending_in(dense(lambda x: tf.nn.softmax(x))),
    "Lambda": ending_in(dense(), lambda: layers.Lambda(lambda x: tf.nn.softmax(x))),
    "a formula": through(by_hand),
    "a temperature before it": through(lambda x: ops.softmax(layers.Dense(CLASSES)(x) / 2.0)),
    "a subclass of Dense": ending_in(dense("softmax", CosineDense)),
    "a layer with an activation": ending_in(HeadLayer),
    "EinsumDense": ending_in(einsum_dense),
    "a convolution": convolutional,
    "int8": quantized("int8"),
    "int4": quantized("int4"),
    "int8 EinsumDense": quantized("int8", einsum_dense),
    "LoRA": with_lora(),
    "LoRA on int8": with_lora(quantized("int8")),
    "mask of the inputs": masked_by_inputs,
    "mask of a layer": masked_by_a_masking_layer,
    "constant mask": masked_by_a_constant,
    "mixed_float16": under("mixed_float16", ending_in(dense("softmax"))),
    "mixed_bfloat16": under("mixed_bfloat16", ending_in(dense(), layers.Softmax)),
    "float32 after mixed_float16": under(
        "mixed_float16", ending_in(dense(), lambda: layers.Activation("softmax", dtype="float32"))
    ),
    "Dropout after it": ending_in(dense("softmax"), lambda: layers.Dropout(0.5)),
    "weights of zero": ending_in(dense("softmax", kernel_initializer="zeros")),
    "a softmax layer used twice": with_one_softmax_layer_used_twice,
    "a model that checks its inputs": through(
        lambda x: layers.Dense(CLASSES, "softmax")(x), CheckingCall
    ),
    "nested": nested(ending_in(dense("softmax"))),
    "nested int8": nested(quantized("int8")),
}

# They return logits, or what may stand for them.
LOGITS = {
    "Dense": ending_in(dense()),
    "a linear Activation": ending_in(dense(), lambda: layers.Activation("linear")),
    "log_softmax": ending_in(dense("log_softmax")),
    "tanh": ending_in(dense("tanh")),
    "relu": ending_in(dense("relu")),
    "weights of zero": ending_in(dense(kernel_initializer="zeros")),
    "a subclass of Dense": ending_in(dense(None, CosineDense)),
    "a layer merely called Softmax": ending_in(dense(), Softmax),
    "a layer merely named softmax": ending_in(dense(name="softmax")),
    "int8": quantized("int8", dense()),
    "LoRA": with_lora(ending_in(dense())),
    "a functional model with a call": through(lambda x: layers.Dense(CLASSES)(x), ScalingModel),
    "a sequential model with a call": ending_in(dense(), kind=ScalingSequential),
    "a model with a __call__": through(lambda x: layers.Dense(CLASSES)(x), ScalingCall),
    "mixed_float16": under("mixed_float16", ending_in(dense())),
}

# Probabilities, of which there are no logits to be had.
UNREACHABLE = {
    "a subclass of Dense": ending_in(dense("softmax", SmoothedDense)),
    "a softmax in a subclass of Dense": ending_in(dense(None, SharpDense)),
    "a subclass of Activation": ending_in(dense(), lambda: SharpActivation("softmax")),
    "a functional model with a call": through(
        lambda x: layers.Dense(CLASSES, "softmax")(x), ScalingModel
    ),
    "a sequential model with a call": ending_in(dense("softmax"), kind=ScalingSequential),
    "a model with a __call__": through(lambda x: layers.Dense(CLASSES, "softmax")(x), ScalingCall),
    "a temperature within": ending_in(
        dense(), lambda: layers.Lambda(lambda x: tf.nn.softmax(x / 2.0))
    ),
    "a mean of several": through(
        lambda x: layers.Average()([layers.Dense(CLASSES, "softmax")(x) for _ in range(2)])
    ),
    "a softmax of another": ending_in(dense("softmax"), lambda: SharpActivation("softmax")),
    "a subclass inside": nested(ending_in(dense("softmax", SmoothedDense))),
}

# Every class by itself.
SIGMOID = {
    "Dense": ending_in(dense("sigmoid")),
    "Activation": ending_in(dense(), lambda: layers.Activation("sigmoid")),
    "keras.ops.sigmoid": through(lambda x: ops.sigmoid(layers.Dense(CLASSES)(x))),
    "tf.nn.sigmoid": ending_in(dense(tf.nn.sigmoid)),
    "Lambda": ending_in(dense(), lambda: layers.Lambda(lambda x: 1.0 / (1.0 + tf.exp(-x)))),
    "a formula": through(lambda x: 0.5 * ops.tanh(layers.Dense(CLASSES)(x)) + 0.5),
    "hard_sigmoid": ending_in(dense("hard_sigmoid")),
    "a layer after it": ending_in(dense("sigmoid"), lambda: layers.Reshape((CLASSES,))),
    "a softmax over the batch": ending_in(dense(), lambda: layers.Softmax(axis=0)),
    "nested": nested(ending_in(dense("sigmoid"))),
}
