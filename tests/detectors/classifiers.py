"""Classifiers with known answers, and one classifier behind every kind of head."""

import keras
import numpy as np
from keras import layers, ops

from tests import networks

SHAPE = (8, 8, 1)


def prototypes(classes=networks.CLASSES, sharpness=8.0):
    """A linear classifier that is certain of one-hot vectors and of nothing else."""
    head = layers.Dense(classes)
    model = keras.Sequential([keras.Input((classes,)), head])
    head.set_weights([sharpness * np.eye(classes, dtype="float32"), np.zeros(classes, "float32")])
    return model


def easy_data(rng, count=40, classes=networks.CLASSES):
    """Near a prototype of `prototypes` (in-distribution), and far from all of them."""
    noise = rng.uniform(0.0, 0.1, size=(2, count, classes)).astype("float32")
    near = noise[0] + 0.9 * np.eye(classes, dtype="float32")[rng.integers(0, classes, count)]
    return near, noise[1]


def trunk(inputs):
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    return layers.Dense(8, activation="tanh")(layers.Flatten()(x))


def logits():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, layers.Dense(networks.CLASSES)(trunk(inputs)))


def dense_softmax():
    inputs = keras.Input(SHAPE)
    head = layers.Dense(networks.CLASSES, activation="softmax")
    return keras.Model(inputs, head(trunk(inputs)))


def softmax_without_bias():
    inputs = keras.Input(SHAPE)
    head = layers.Dense(networks.CLASSES, activation="softmax", use_bias=False)
    return keras.Model(inputs, head(trunk(inputs)))


def ending_in(operation):
    def make():
        model = logits()
        return keras.Model(model.inputs[0], operation(model.output))

    return make


def softmax_then_linear():
    """Keras's recipe for mixed precision: the activation's dtype is set by a layer of its own."""
    model = dense_softmax()
    return keras.Model(model.inputs[0], layers.Activation("linear", dtype="float32")(model.output))


def sequential(*head):
    body = [
        layers.Conv2D(4, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(8, activation="tanh"),
    ]
    return keras.Sequential([keras.Input(SHAPE), *body, *head])


def in_sequential(inner, *head):
    return keras.Sequential([keras.Input(SHAPE), inner(), *head])


def in_functional(inner):
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, inner()(layers.Identity()(inputs)))


@keras.saving.register_keras_serializable(package="keras_lodin_tests")
class SubclassedTrunk(keras.Model):
    """The network of `logits`, of which Keras sees no graph."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convolution = layers.Conv2D(4, 3, activation="relu")
        self.flatten = layers.Flatten()
        self.hidden = layers.Dense(8, activation="tanh")
        self.head = layers.Dense(networks.CLASSES)

    def call(self, inputs):
        return self.head(self.hidden(self.flatten(self.convolution(inputs))))


def subclassed():
    model = SubclassedTrunk()
    model(np.zeros((1, *SHAPE), "float32"))
    return model


CLASSES = networks.CLASSES

# Every way to write the network of `logits`, with weights in the same order.
WRITINGS = {
    "functional, logits": logits,
    "functional, Dense softmax": dense_softmax,
    "functional, Softmax layer": ending_in(layers.Softmax()),
    "functional, Activation softmax": ending_in(layers.Activation("softmax")),
    "functional, ops.softmax": ending_in(ops.softmax),
    "functional, activations.softmax": ending_in(keras.activations.softmax),
    "functional, Dense softmax, linear Activation": softmax_then_linear,
    "functional, linear Activation": ending_in(layers.Activation("linear")),
    "functional, logits reshaped": ending_in(layers.Reshape((CLASSES,))),
    "sequential, logits": lambda: sequential(layers.Dense(CLASSES)),
    "sequential, Dense softmax": lambda: sequential(layers.Dense(CLASSES, activation="softmax")),
    "sequential, Softmax layer": lambda: sequential(layers.Dense(CLASSES), layers.Softmax()),
    "functional in sequential": lambda: in_sequential(logits),
    "functional softmax in sequential": lambda: in_sequential(dense_softmax),
    "functional in sequential, Softmax layer": lambda: in_sequential(logits, layers.Softmax()),
    "sequential in functional": lambda: in_functional(
        lambda: sequential(layers.Dense(CLASSES), layers.Activation("softmax"))
    ),
    "twice nested": lambda: in_functional(lambda: in_sequential(dense_softmax)),
    "subclassed, logits": subclassed,
    "subclassed in sequential": lambda: in_sequential(subclassed),
    "subclassed in sequential, Softmax layer": lambda: in_sequential(subclassed, layers.Softmax()),
}
