"""The quotient of real networks against finite differences in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_lodin
from tests import networks

ARCHITECTURES = [
    (networks.convolutional, (8, 8, 1)),
    (networks.dense, (10,)),
    (networks.residual, (6, 6, 2)),
]


def finite_difference_softmax_jacobian(model64, x, step=1e-6, temperature=1.0):
    """dS_j/dx by central differences in float64: (classes, samples, input values)."""
    columns = []
    for sample in x.astype("float64"):
        steps = step * np.eye(sample.size).reshape(-1, *sample.shape)
        up, down = (
            ops.convert_to_numpy(ops.softmax(model64(sample + sign * steps) / temperature))
            for sign in (1, -1)
        )
        columns.append((up - down).T / (2 * step))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("normalization", [False, True])
@pytest.mark.parametrize(("make", "shape"), ARCHITECTURES)
def test_quotient_equals_float64_finite_differences(make, shape, normalization, rng):
    model = make(normalization=normalization, shape=shape)
    twin = networks.in_float64(make, model, normalization=normalization, shape=shape)
    x = rng.uniform(size=(6, *shape)).astype("float32")
    y = rng.integers(0, networks.CLASSES, size=6)

    norms = np.abs(finite_difference_softmax_jacobian(twin, x)).sum(-1)
    label = norms[y, np.arange(6)]
    np.testing.assert_allclose(
        keras_lodin.gradient_quotient(model, x, y), label / (norms.sum(0) - label), rtol=1e-4
    )


@pytest.mark.grid(2)
@pytest.mark.parametrize("temperature", [0.5, 20.0])
def test_quotient_at_a_temperature_is_that_of_the_tempered_softmax(temperature, rng):
    model = networks.convolutional()
    twin = networks.in_float64(networks.convolutional, model)
    x = rng.uniform(size=(6, 8, 8, 1)).astype("float32")
    y = rng.integers(0, networks.CLASSES, size=6)
    jacobian = finite_difference_softmax_jacobian(twin, x, temperature=temperature)
    norms = np.abs(jacobian).sum(-1)
    label = norms[y, np.arange(6)]
    np.testing.assert_allclose(
        keras_lodin.gradient_quotient(model, x, y, temperature=temperature),
        label / (norms.sum(0) - label),
        rtol=1e-4,
    )


def test_quotient_at_a_high_temperature_is_that_of_centred_logits(images, labels):
    model = networks.convolutional()
    centred = keras.Sequential([model, layers.Lambda(lambda f: f - ops.mean(f, -1, keepdims=True))])
    np.testing.assert_allclose(
        keras_lodin.gradient_quotient(model, images, labels, temperature=1e6),
        keras_lodin.gradient_quotient(centred, images, labels, form="logits", from_logits=True),
        rtol=1e-4,
    )


def test_share_is_the_logits_form_with_the_label_in_the_denominator_too(images, labels):
    model, labels = networks.convolutional(classes=3), labels % 3
    logits = keras_lodin.gradient_quotient(model, images, labels, form="logits")
    share = keras_lodin.gradient_quotient(model, images, labels, form="share")
    np.testing.assert_allclose(share, logits / (1.0 + logits), rtol=1e-5)
    shares = [
        keras_lodin.gradient_quotient(model, images, np.full(12, j), form="share") for j in range(3)
    ]
    np.testing.assert_allclose(np.sum(shares, axis=0), 1.0, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"temperature": 2.0, "form": "logits"}])
def test_impossible_temperatures_are_refused(settings, classifier, images, labels):
    with pytest.raises(ValueError, match="`temperature`"):
        keras_lodin.gradient_quotient(classifier, images, labels, **settings)


def test_quotient_of_saturated_softmax_is_finite_where_the_literal_formula_is_not(images):
    model = networks.convolutional()
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 3000.0)
    inputs = tf.constant(images)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        softmax = tf.nn.softmax(model(inputs))
        columns = [softmax[:, j] for j in range(networks.CLASSES)]
    literal = np.stack([np.abs(tape.gradient(c, inputs).numpy()).sum((1, 2, 3)) for c in columns])
    predicted = model.predict(images, verbose=0).argmax(-1)
    of_predicted = literal[predicted, np.arange(len(predicted))]
    # 0 / 0, or x / 0 where the processor's softmax rounds the winner to just below 1.
    assert np.all(np.sum(literal, axis=0) == of_predicted)

    quotient = keras_lodin.gradient_quotient(model, images, predicted)
    np.testing.assert_allclose(quotient, 1.0, rtol=1e-3)  # all others move against the winner
    quotient = keras_lodin.gradient_quotient(model, images, (predicted + 1) % networks.CLASSES)
    assert np.all((quotient >= 0.0) & (quotient <= 1.0))


def test_quotient_of_a_network_with_zero_gradient_is_zero(images, labels):
    model = networks.convolutional()
    model.layers[-1].kernel.assign(np.zeros(model.layers[-1].kernel.shape))
    assert not np.any(keras_lodin.gradient_quotient(model, images, labels))


def test_softmax_and_logits_classifiers_have_the_same_quotient(classifier, images, labels):
    softmax = keras.Model(classifier.inputs, layers.Softmax()(classifier.output))
    np.testing.assert_allclose(
        keras_lodin.gradient_quotient(softmax, images, labels),
        keras_lodin.gradient_quotient(classifier, images, labels),
        rtol=1e-5,
    )


@pytest.mark.grid(3)
@pytest.mark.parametrize("form", ["softmax", "logits", "pooled"])
def test_batch_size_does_not_change_the_quotient(form, classifier, images, labels):
    one_batch = keras_lodin.gradient_quotient(classifier, images, labels, form=form)
    small = keras_lodin.gradient_quotient(classifier, images, labels, form=form, batch_size=5)
    assert one_batch.shape == (12,)
    assert one_batch.dtype == np.float32
    np.testing.assert_allclose(one_batch, small, rtol=1e-4)


def test_pooled_form_equals_the_published_computation(classifier, images, labels):
    inputs = tf.constant(images)
    mask = tf.one_hot(labels, networks.CLASSES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        logits = classifier(inputs)
        label, others = tf.reduce_sum(mask * logits), tf.reduce_sum((1 - mask) * logits)
    expected = (
        np.abs(tape.gradient(label, inputs)).sum() / np.abs(tape.gradient(others, inputs)).sum()
    )
    quotient = keras_lodin.gradient_quotient(classifier, images, labels, form="pooled")
    np.testing.assert_allclose(quotient, np.full(12, expected), rtol=1e-5)


@pytest.mark.slow
def test_one_hot_labels_and_datasets_give_the_same_quotient(classifier, images, labels):
    expected = keras_lodin.gradient_quotient(classifier, images, labels)
    one_hot = keras.utils.to_categorical(labels, networks.CLASSES)
    np.testing.assert_array_equal(
        keras_lodin.gradient_quotient(classifier, images, one_hot), expected
    )
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(32)
    np.testing.assert_array_equal(keras_lodin.gradient_quotient(classifier, dataset), expected)


def test_uint8_images_have_a_quotient(images, labels):
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.Flatten()])
    model.add(layers.Dense(networks.CLASSES))
    pixels = (images * 255).astype("uint8")
    np.testing.assert_allclose(
        keras_lodin.gradient_quotient(model, pixels, labels),
        keras_lodin.gradient_quotient(model, pixels.astype("float32"), labels),
        rtol=1e-6,
    )


def test_two_classes_are_refused_with_the_reason(images):
    with pytest.raises(ValueError, match=r"two classes .* is\s+1 for every input.*Received: form"):
        keras_lodin.gradient_quotient(networks.convolutional(classes=2), images, np.zeros(12, int))
    logits = keras_lodin.gradient_quotient(
        networks.convolutional(classes=2), images, np.zeros(12, int), form="logits"
    )
    assert np.all(logits > 0)


def test_pooled_form_on_softmax_outputs_is_refused_with_the_reason(classifier, images, labels):
    softmax = keras.Model(classifier.inputs, layers.Softmax()(classifier.output))
    with pytest.raises(ValueError, match=r"sum to 1 - S_y.*Received: form='pooled'"):
        keras_lodin.gradient_quotient(softmax, images, labels, form="pooled")


def test_nan_inputs_are_refused(classifier, images, labels):
    images[3, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN"):
        keras_lodin.gradient_quotient(classifier, images, labels)


def test_missing_and_impossible_labels_are_refused(classifier, images, labels):
    with pytest.raises(ValueError, match=r"needs the label of every sample"):
        keras_lodin.gradient_quotient(classifier, images)
    with pytest.raises(ValueError, match=r"Received.*99"):
        keras_lodin.gradient_quotient(classifier, images, np.where(labels == labels[0], 99, labels))


@pytest.mark.parametrize(("option", "value"), [("form", "softmaxx"), ("estimator", "approximate")])
def test_unknown_settings_are_refused_with_the_known_ones(
    option, value, classifier, images, labels
):
    with pytest.raises(ValueError, match=rf"`{option}` must be one of .*Received: {option}"):
        keras_lodin.gradient_quotient(classifier, images, labels, **{option: value})


def test_a_classifier_without_a_gradient_is_refused(images, labels):
    inputs = keras.Input((8, 8, 1))
    x = layers.Flatten()(ops.stop_gradient(inputs))
    model = keras.Model(inputs, layers.Dense(networks.CLASSES)(x))
    with pytest.raises(ValueError, match=r"gradient_quotient needs the gradient.*ends at 'stop_gr"):
        keras_lodin.gradient_quotient(model, images, labels)
