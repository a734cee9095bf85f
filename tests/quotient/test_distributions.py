"""Gradient norms of single samples against closed forms in float64, and as properties."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from scipy.special import logsumexp

import keras_lodin
from keras_lodin.quotient.distributions import gradient_distributions
from keras_lodin.quotient.forms import log_rest
from tests import networks
from tests.quotient.test_per_sample import ARCHITECTURES, finite_difference_softmax_jacobian


def linear_classifier(weights):
    model = keras.Sequential([keras.Input(weights.shape[:1])])
    model.add(layers.Dense(weights.shape[1], use_bias=False))
    model.layers[-1].kernel.assign(weights)
    return model


def log10_norms_of_linear_classifier(weights, x, norm):
    """dS_j/dx = S_j (w_j - sum_k S_k w_k), in float64 and in logarithms: of m, and of the others.

    For the predicted class m the bracket is computed as sum_{k != m} S_k (w_m - w_k): the
    difference as it is written rounds to zero for a confident sample.
    """
    order = int(norm[-1])
    weights, x = weights.astype("float64"), x.astype("float64")
    found = []
    for logits in x @ weights:
        log_softmax = logits - logsumexp(logits)
        winner = logits.argmax()
        others = np.delete(np.arange(logits.size), winner)
        log_rest = logsumexp(log_softmax[others])
        shares = np.exp(log_softmax[others] - log_rest)
        towards = (weights[:, [winner]] - weights[:, others]) @ shares
        label = log_softmax[winner] + log_rest + np.log(np.linalg.norm(towards, order))
        mean = weights[:, winner] - np.exp(log_rest) * towards
        each = [
            log_softmax[j] + np.log(np.linalg.norm(weights[:, j] - mean, order)) for j in others
        ]
        found.append((label / np.log(10), logsumexp(each) / np.log(10)))
    return np.transpose(found)


@pytest.mark.grid(6)
@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("size", [1e-2, 1.0, 1e2, 1e3, 1e4])
def test_norms_of_a_linear_classifier_have_their_closed_form_however_confident(size, norm, rng):
    weights = rng.normal(size=(5, 6)).astype("float32")
    x = rng.normal(size=(20, 5)).astype("float32")
    x *= np.float32(size) / np.abs(x @ weights).max(-1, keepdims=True)
    found = gradient_distributions(linear_classifier(weights), x, norm=norm, verbose=0)
    label, others = log10_norms_of_linear_classifier(weights, x, norm)
    # As exact as the logits, whose rounding error in float32 grows with their size.
    tolerance = 1e-5 + 1e-6 * size
    np.testing.assert_allclose(found.log10_label_norm, label, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.log10_other_norm, others, rtol=0, atol=tolerance)
    if size >= 1e3:
        assert found.log10_label_norm.min() < -50  # float32 ends at 1e-38
    np.testing.assert_array_equal(found.predicted, (x @ weights).argmax(-1))


@pytest.mark.grid(4)
@pytest.mark.parametrize(("make", "shape"), ARCHITECTURES)
def test_norms_equal_float64_finite_differences(make, shape, rng):
    model = make(normalization=True, shape=shape)
    twin = networks.in_float64(make, model, normalization=True, shape=shape)
    x = rng.uniform(size=(6, *shape)).astype("float32")
    norms = np.abs(finite_difference_softmax_jacobian(twin, x)).sum(-1)
    label = norms[model.predict(x, verbose=0).argmax(-1), np.arange(6)]

    found = gradient_distributions(model, x, verbose=0)
    np.testing.assert_allclose(10**found.log10_label_norm, label, rtol=1e-4)
    np.testing.assert_allclose(10**found.log10_other_norm, norms.sum(0) - label, rtol=1e-4)


def test_logits_form_has_the_norms_of_the_logits(classifier, images):
    inputs = tf.constant(images)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        logits = classifier(inputs)
        columns = [logits[:, j] for j in range(networks.CLASSES)]
    norms = np.stack([np.abs(tape.gradient(c, inputs)).sum((1, 2, 3)) for c in columns])
    label = norms[logits.numpy().argmax(-1), np.arange(12)]
    found = gradient_distributions(classifier, images, form="logits", verbose=0)
    np.testing.assert_allclose(10**found.log10_label_norm, label, rtol=1e-4)
    np.testing.assert_allclose(10**found.log10_other_norm, norms.sum(0) - label, rtol=1e-4)


SETTINGS = [
    {},
    {"norm": "l2"},
    {"form": "logits"},
    {"estimator": "sampled", "samples": 2},
    {"estimator": "projected", "samples": 4},
]


@pytest.mark.grid(6)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_quotient_is_that_of_the_norms_and_of_the_predictions_as_labels(
    settings, classifier, images
):
    found = gradient_distributions(classifier, images, **settings, seed=3, verbose=0)
    np.testing.assert_allclose(
        found.quotient, 10 ** (found.log10_label_norm - found.log10_other_norm), rtol=1e-5
    )
    np.testing.assert_allclose(
        found.quotient,
        keras_lodin.gradient_quotient(classifier, images, found.predicted, **settings, seed=3),
        rtol=1e-5,
    )


@pytest.mark.slow
def test_sampled_norms_scatter_around_the_exact_ones(classifier, images):
    exact = gradient_distributions(classifier, images, verbose=0)
    sampled = gradient_distributions(
        classifier, images, estimator="sampled", samples=200, seed=0, verbose=0
    )
    np.testing.assert_allclose(sampled.log10_label_norm, exact.log10_label_norm, atol=1e-5)
    np.testing.assert_allclose(sampled.log10_other_norm, exact.log10_other_norm, atol=0.05)


def test_batch_size_and_kind_of_data_do_not_change_the_norms(classifier, images, labels):
    expected = gradient_distributions(classifier, images, verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)
    found = gradient_distributions(classifier, dataset, verbose=0)
    np.testing.assert_allclose(found.log10_label_norm, expected.log10_label_norm, atol=1e-5)
    np.testing.assert_allclose(found.log10_other_norm, expected.log10_other_norm, atol=1e-5)
    np.testing.assert_array_equal(found.labels, labels)
    assert expected.labels is None
    assert len(found) == len(expected) == 12


def test_zero_gradients_have_the_logarithm_minus_infinity(images):
    model = networks.convolutional()
    model.layers[-1].kernel.assign(np.zeros(model.layers[-1].kernel.shape))
    found = gradient_distributions(model, images, verbose=0)
    assert np.all(found.log10_label_norm == -np.inf)
    assert np.all(found.log10_other_norm == -np.inf)
    assert not np.any(found.quotient)


@given(st.lists(st.floats(-1e4, 1e4, width=32, allow_subnormal=False), min_size=2, max_size=6))
def test_what_the_predicted_class_leaves_has_a_finite_logarithm(logits):
    (found,) = log_rest(np.array([logits], "float32")).numpy()
    others = np.delete(np.array(logits), np.argmax(logits))
    expected = logsumexp(others) - logsumexp(logits)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_pooled_form_is_refused_because_it_has_no_single_samples(classifier, images):
    with pytest.raises(ValueError, match=r"norms of a whole batch.*Received: form='pooled'"):
        gradient_distributions(classifier, images, form="pooled")


def test_two_classes_are_refused_with_the_reason(images):
    with pytest.raises(ValueError, match=r"With two classes"):
        gradient_distributions(networks.convolutional(classes=2), images)


def test_gradients_that_are_not_finite_are_refused_with_their_place(classifier, images):
    classifier.layers[-1].kernel.assign(np.full(classifier.layers[-1].kernel.shape, np.nan))
    with pytest.raises(ValueError, match=r"must be finite.*Received: norms .* for example 0"):
        gradient_distributions(classifier, images, verbose=0)
