"""Features of classifiers that are written in many ways, and one pass that keeps them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_lodin.detectors.feature_pass import FeaturePass
from keras_lodin.models.features import FeatureLayers
from keras_lodin.models.head import find_head
from keras_lodin.utils.keras_internals import layers_of
from tests import heads, networks
from tests.detectors import classifiers

SEEN = {
    name: make for name, make in classifiers.WRITINGS.items() if not name.startswith("subclassed")
}


def feature_layers(classifier, names=None):
    return FeatureLayers(classifier, find_head(classifier).from_logits, names)


def values(classifier, inputs, names=None):
    return [ops.convert_to_numpy(value) for value in feature_layers(classifier, names)(inputs)]


def convolutions(function, inputs):
    graph = tf.function(function).get_concrete_function(tf.TensorSpec((None, *inputs.shape[1:])))
    return sum(operation.type == "Conv2D" for operation in graph.graph.get_operations())


def backbone():
    """A network with features of its own, named, to be called within another."""
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="early")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(5, 3, activation="tanh", name="late")(x)
    return networks.with_statistics(keras.Model(inputs, x, name="backbone"))


def transferred(activation=None):
    """Preprocessing, a backbone, a path around it, and a head: as in transfer learning."""
    inputs = keras.Input((10, 10, 3))
    scaled = layers.Rescaling(2.0, offset=-1.0, name="scaled")(inputs)
    x = backbone()(scaled, training=False)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    around = layers.Dense(4, name="around")(layers.GlobalMaxPooling2D()(scaled))
    x = layers.Concatenate(name="joined")([x, around])
    x = layers.Dropout(0.5)(x, training=True)
    return keras.Model(inputs, layers.Dense(7, activation=activation, name="head")(x))


@pytest.fixture
def photos(rng):
    return rng.uniform(size=(6, 10, 10, 3)).astype("float32")


@pytest.mark.grid(4)
@pytest.mark.parametrize("writing", SEEN)
def test_features_are_what_enters_the_last_layer(writing, images):
    reference = classifiers.logits()
    model = SEEN[writing]()
    model.set_weights(reference.get_weights())
    features, logits = values(model, images)
    trunk = keras.Model(reference.inputs[0], reference.layers[-2].output)
    np.testing.assert_allclose(features, trunk(images), atol=1e-6)
    np.testing.assert_allclose(logits, reference(images), atol=1e-6)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_layers_are_found_in_models_within_the_classifier(activation, photos):
    model = transferred(activation)
    names = ["late", "scaled", "early", "joined", "backbone"]
    late, scaled, early, joined, whole, logits = values(model, photos, names)
    inner = model.get_layer("backbone")
    middle = keras.Model(inner.inputs[0], [inner.get_layer(n).output for n in ("early", "late")])
    expected = middle(2.0 * photos - 1.0, training=False)
    np.testing.assert_allclose(early, ops.mean(expected[0], axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(late, ops.mean(expected[1], axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(whole, late)
    np.testing.assert_allclose(scaled, (2.0 * photos - 1.0).mean((1, 2)), atol=1e-6)
    head = model.get_layer("head")
    np.testing.assert_allclose(logits, joined @ head.kernel.numpy() + head.bias, atol=1e-6)
    np.testing.assert_allclose(logits, find_head(model).logits(photos, training=False), atol=1e-6)
    np.testing.assert_array_equal(values(model, photos)[0], joined)


def test_layers_of_two_models_one_in_the_other(images):
    model = classifiers.WRITINGS["twice nested"]()
    names = [layer.name for layer in model.layers[-1].layers[-1].layers]
    found = values(model, images, [names[1], names[-1]])
    assert [value.shape for value in found] == [(12, 4), (12, 7), (12, 7)]
    np.testing.assert_allclose(ops.softmax(found[2]), found[1], atol=1e-6)


@pytest.mark.parametrize("names", [None, ["early"], ["early", "scaled", "around"]])
def test_the_network_runs_once(names, photos):
    model = transferred()
    features = feature_layers(model, names)
    assert convolutions(features, photos) == 2
    assert convolutions(lambda x: FeaturePass(features, x).logits, photos) == 2


def test_the_users_layers_are_called_no_more_often(photos):
    model = transferred()
    before = [(layer.name, len(layer._inbound_nodes)) for layer in model.layers]
    values(model, photos, ["late", "around"])
    assert [(layer.name, len(layer._inbound_nodes)) for layer in model.layers] == before
    assert model.get_layer("pooled").output.shape == (None, 5)


def test_features_are_those_of_inference(photos):
    """Whatever mode the model around is in: batch statistics stay, dropout is off."""
    model = transferred()
    before = model.get_weights()
    features = feature_layers(model, ["late", "joined"])

    class Around(keras.Model):
        def call(self, inputs):
            return features(inputs)

    expected = features(photos)
    for found, value in zip(Around()(photos, training=True), expected, strict=True):
        np.testing.assert_array_equal(found, value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_half_precision_features_are_pooled_in_float32(photos):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = transferred()
    finally:
        keras.config.set_dtype_policy("float32")
    twin = transferred()
    twin.set_weights(model.get_weights())
    for found, expected in zip(
        values(model, photos, ["early", "around"]),
        values(twin, photos, ["early", "around"]),
        strict=True,
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-2)


def test_input_gradients_of_the_features(photos):
    model = transferred()
    features = feature_layers(model, ["early", "joined"])
    forward_pass = FeaturePass(features, photos)
    rng = np.random.default_rng(1)
    cotangents = [
        ops.convert_to_tensor(rng.normal(size=(6, size)).astype("float32"))
        for size in features.sizes
    ]
    x = tf.constant(photos)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = sum(
            tf.reduce_sum(value * cotangent)
            for value, cotangent in zip(features(x)[:2], cotangents, strict=True)
        )
    np.testing.assert_allclose(
        forward_pass.input_gradient_of_features(cotangents), tape.gradient(total, x), atol=1e-6
    )
    for found, value in zip(forward_pass.features_at(photos), forward_pass.features, strict=True):
        np.testing.assert_allclose(found, value, atol=1e-6)


# --- Refusals --------------------------------------------------------------------------------


def test_unknown_names_are_refused_with_those_that_may_be_meant():
    with pytest.raises(ValueError, match=r"Did you mean 'late'.*Received: layers=\['lat'\], of wh"):
        feature_layers(transferred(), ["lat"])


def test_a_name_of_several_layers_is_refused():
    inner = backbone()
    inputs = keras.Input((9, 9, 3))
    both = layers.Add()([inner(inputs), inner(layers.Rescaling(0.5)(inputs))])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(both)))
    with pytest.raises(ValueError, match=r"called once. Received:.*'late' stands for 2 tensors"):
        feature_layers(model, ["late"])


def test_a_subclassed_classifier_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"(?s)is a subclassed model.*keras.Model\(.*Received: cl"):
        FeatureLayers(networks.subclassed(), True)


def test_a_classifier_that_ends_in_something_else_is_refused_unless_layers_are_named(images):
    model = networks.convolutional()
    ending = keras.Model(model.inputs[0], layers.ReLU(name="end")(model.output))
    with pytest.raises(ValueError, match=r"`layers=\[...\]`. Received: layers=None, .*'end'"):
        FeatureLayers(ending, True)
    features = FeatureLayers(ending, True, [model.layers[1].name])
    assert features.sizes == (6,)
    np.testing.assert_array_equal(features(images)[1], ending(images))


def test_features_of_unknown_size_are_refused():
    inputs = keras.Input((None,))
    x = layers.Rescaling(0.5, name="free")(inputs)
    wide = layers.Lambda(lambda x: x[:, :4], output_shape=(4,))(x)
    model = keras.Model(inputs, layers.Dense(3)(wide))
    with pytest.raises(ValueError, match=r"known number of channels.*\(None, None\).*'free'"):
        feature_layers(model, ["free"])


@pytest.mark.grid(6)
@pytest.mark.parametrize("name", heads.SOFTMAX)
def test_the_logits_are_those_of_every_head(name, rng):
    model = heads.SOFTMAX[name]()
    first = next(
        layer.name
        for layer in layers_of(model)
        if layer.weights and not isinstance(layer, keras.Model)
    )
    inputs = rng.uniform(size=(4, heads.FEATURES)).astype("float32")
    *_, logits = FeatureLayers(model, False, [first])(ops.convert_to_tensor(inputs))
    expected = find_head(model).logits(inputs, training=False)
    np.testing.assert_allclose(logits, ops.cast(expected, "float32"), atol=1e-5)


@pytest.mark.parametrize("name", ["Dense", "int8", "a subclass of Dense", "nested", "LoRA"])
def test_the_features_are_what_enters_every_head(name, rng):
    model = heads.SOFTMAX[name]()
    inputs = ops.convert_to_tensor(rng.uniform(size=(4, heads.FEATURES)).astype("float32"))
    features, logits = FeatureLayers(model, False)(inputs)
    head = next(layer for layer in layers_of(model) if getattr(layer, "units", 0) == heads.CLASSES)
    np.testing.assert_allclose(head(features), ops.softmax(logits), atol=1e-6)


def test_a_model_that_does_more_than_its_graph_is_refused():
    FeatureLayers(heads.SOFTMAX["a model that checks its inputs"](), False)
    model = heads.LOGITS["a model with a __call__"]()
    with pytest.raises(ValueError, match=r"do not give what calling it does.*Received: classifier"):
        FeatureLayers(model, True)
