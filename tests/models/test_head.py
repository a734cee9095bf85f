"""Where a classifier's logits are: heads of every kind."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_lodin.models.head import find_head
from tests import networks
from tests.detectors import classifiers


@pytest.fixture
def images(rng):
    return ops.convert_to_tensor(rng.uniform(size=(12, 8, 8, 1)).astype("float32"))


@pytest.mark.grid(4)
@pytest.mark.parametrize("writing", classifiers.WRITINGS)
def test_logits_and_output_of_every_writing(writing, images):
    reference = classifiers.logits()
    model = classifiers.WRITINGS[writing]()
    model.set_weights(reference.get_weights())
    head = find_head(model)
    logits = head.logits(images)
    np.testing.assert_allclose(logits, reference(images), atol=1e-6)
    np.testing.assert_allclose(head.output(logits), model(images), atol=1e-6)
    assert head.num_classes == networks.CLASSES
    assert head.input_shape == (None, 8, 8, 1)
    assert head.from_logits == (abs(float(ops.sum(model(images)[0])) - 1.0) > 1e-3)


@pytest.mark.parametrize("activation", ["relu", "log_softmax", "tanh"])
def test_other_activations_count_as_logits(activation, images):
    model = networks.convolutional()
    model = keras.Model(model.inputs[0], layers.Activation(activation)(model.output))
    head = find_head(model)
    assert head.from_logits
    np.testing.assert_array_equal(head.logits(images), model(images))


def test_a_subclassed_head_is_judged_by_what_it_returns():
    assert find_head(networks.subclassed()).from_logits
    for told in (None, True, False):
        with pytest.raises(ValueError, match=r"returns probabilities.*cannot be reached.*Received"):
            find_head(networks.subclassed(activation="softmax"), told)


def test_a_softmax_behind_a_reshape_is_found_where_it_runs_over_the_classes(images):
    inputs = keras.Input((8, 8, 1))
    over_classes = layers.Conv2D(3, 8, activation="softmax")(inputs)
    model = keras.Model(inputs, layers.Flatten()(over_classes))
    head = find_head(model)
    np.testing.assert_allclose(head.output(head.logits(images)), model(images), atol=1e-6)
    over_rows = layers.Softmax(axis=1)(layers.Conv2D(2, (6, 8))(inputs))
    with pytest.raises(ValueError, match=r"do not add up to 1.*Received: classifier="):
        find_head(keras.Model(inputs, layers.Flatten()(over_rows)))


def test_a_fully_convolutional_head_in_logits_is_understood(images):
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, layers.Flatten()(layers.Conv2D(3, 8)(inputs)))
    assert find_head(model).from_logits


def test_training_mode_reaches_the_layers_before_the_softmax(images):
    inputs = keras.Input((8, 8, 1))
    x = layers.Dropout(0.5)(layers.Flatten()(inputs))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    logits = find_head(model).logits
    np.testing.assert_array_equal(logits(images, training=False), logits(images, training=False))
    assert np.any(logits(images, training=True) != logits(images, training=False))


@pytest.mark.parametrize("head_dtype", ["float32", "mixed_float16"])
def test_the_head_computes_in_its_own_precision(head_dtype, images):
    inputs = keras.Input((8, 8, 1))
    hidden = layers.Dense(8, dtype="mixed_float16")(layers.Flatten()(inputs))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", dtype=head_dtype)(hidden))
    logits = find_head(model).logits(images)
    assert logits.dtype.name == ("float32" if head_dtype == "float32" else "float16")
    tolerance = 1e-6 if head_dtype == "float32" else 2e-3
    np.testing.assert_allclose(
        ops.softmax(ops.cast(logits, "float32")), model(images), atol=tolerance
    )


def test_a_layer_that_is_merely_called_softmax_is_told_by_its_class(images):
    inputs = keras.Input((8, 8, 1))
    outputs = layers.Dense(3, name="softmax")(layers.Flatten()(inputs))
    assert find_head(keras.Model(inputs, outputs)).from_logits
