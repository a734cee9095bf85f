"""A small classifier behind a ReLU, real enough to have classes, and its features in memory."""

from functools import cache

import keras
import numpy as np
from keras import layers, ops

from keras_lodin.models.linear_head import LinearHead

CLASSES, FEATURES = 5, 12


@cache
def classifier():
    """Vectors of 8 numbers, 12 features that are not negative, 5 classes, fitted a little."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8,))
    hidden = layers.Dense(FEATURES, activation="relu", name="features")(inputs)
    model = keras.Model(inputs, layers.Dense(CLASSES, name="logits")(layers.Dropout(0.5)(hidden)))
    model.compile(keras.optimizers.Adam(0.03), keras.losses.SparseCategoricalCrossentropy(True))
    model.fit(*data(), epochs=6, verbose=0)
    return model


@cache
def data(count=400, seed=0):
    """Vectors around a centre for each class, and labels."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(100).normal(size=(CLASSES, 8))
    labels = np.arange(count) % CLASSES
    vectors = centres[labels] + 0.7 * rng.normal(size=(count, 8))
    return vectors.astype("float32"), labels


@cache
def mixed_inputs(count=60):
    """Half like the data, half far from them."""
    near, _ = data(count // 2, seed=1)
    return np.concatenate([near, 3.0 * np.random.default_rng(2).normal(size=near.shape)]).astype(
        "float32"
    )


def in_float64(inputs):
    """Features h, logits z, kernel W `(features, classes)` and bias b of the classifier."""
    head = LinearHead(classifier(), True)
    values = (ops.convert_to_numpy(value) for value in head.layers(ops.convert_to_tensor(inputs)))
    return [np.asarray(value, "float64") for value in (*values, head.kernel, head.bias)]


def scores(detector, inputs=None):
    """A detector's scores, without a graph."""
    given = mixed_inputs() if inputs is None else inputs
    return ops.convert_to_numpy(detector(ops.convert_to_tensor(given))["score"])
