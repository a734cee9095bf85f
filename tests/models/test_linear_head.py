"""The last linear layer of classifiers that are written in many ways."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_lodin.models.head import find_head
from keras_lodin.models.linear_head import LinearHead
from tests import networks
from tests.detectors import classifiers


def convolution_flattened():
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D(keepdims=True)(layers.Conv2D(6, 3, activation="relu")(inputs))
    return keras.Model(inputs, layers.Flatten()(layers.Conv2D(5, 1)(layers.Dropout(0.3)(x))))


def convolution_averaged():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 1)(layers.Conv2D(6, 3, activation="relu")(inputs))
    return keras.Model(inputs, layers.Activation("softmax")(layers.GlobalAveragePooling2D()(x)))


def with_lora():
    model = networks.dense()
    model.layers[-1].enable_lora(2)
    model.layers[-1].lora_kernel_b.assign(np.ones(model.layers[-1].lora_kernel_b.shape))
    return model


SEEN = {
    **{n: make for n, make in classifiers.WRITINGS.items() if not n.startswith("subclassed")},
    "1x1 convolution, flattened": convolution_flattened,
    "1x1 convolution, averaged": convolution_averaged,
    "LoRA": with_lora,
}


@pytest.mark.grid(2)
@pytest.mark.parametrize("make", SEEN.values(), ids=SEEN)
def test_logits_are_features_times_kernel_plus_bias(make, rng):
    model = make()
    for variable in model.variables:
        if variable.name == "bias":
            variable.assign(0.3 * rng.normal(size=variable.shape))
    found = find_head(model)
    head = LinearHead(model, found.from_logits)
    inputs = rng.normal(size=(5, *model.inputs[0].shape[1:])).astype("float32")
    features, logits = head.layers(ops.convert_to_tensor(inputs))
    features, logits = ops.convert_to_numpy(features), ops.convert_to_numpy(logits)
    np.testing.assert_allclose(logits, found.logits(inputs, training=False), atol=1e-5)
    np.testing.assert_allclose(features @ head.kernel + head.bias, logits, atol=1e-4)
    np.testing.assert_allclose(head.logits(features), logits, atol=1e-5)


def test_the_kernel_follows_the_weights(rng):
    model = networks.dense()
    head = LinearHead(model, True)
    kernel = rng.normal(size=head.kernel.shape).astype("float32")
    model.layers[-1].kernel.assign(kernel)
    np.testing.assert_allclose(head.kernel, kernel, atol=1e-6)


def test_signed_features_are_measured():
    inputs = keras.Input((4,))
    for activation, least, most in (("relu", 0.0, 0.0), ("tanh", 0.2, 0.8)):
        hidden = layers.Dense(9, activation=activation)(inputs)
        head = LinearHead(keras.Model(inputs, layers.Dense(3)(hidden)), True)
        assert least <= head.negative_share <= most


def test_logits_that_are_not_linear_in_the_features_are_refused():
    inputs = keras.Input((8, 8, 3))
    convolved = layers.Conv2D(5, 3)(layers.Conv2D(6, 3, activation="relu")(inputs))
    pooled = keras.Model(inputs, layers.GlobalAveragePooling2D()(convolved))
    with pytest.raises(ValueError, match=r"must be linear in the features.*Received: .*conv2d"):
        LinearHead(pooled, True)
    flat = keras.Input((4,))
    curved = keras.Model(flat, layers.Dense(3, activation="tanh")(layers.Dense(9)(flat)))
    with pytest.raises(ValueError, match=r"must be linear.*Received: .*differences of"):
        LinearHead(curved, True)
    with pytest.raises(ValueError, match=r"cannot be seen: it is a subclassed"):
        LinearHead(networks.subclassed(), True)
