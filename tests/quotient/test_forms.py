"""The quotient's forms against literal float64 arithmetic, as properties."""

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_lodin.quotient import forms
from keras_lodin.quotient.estimators import exact_norms
from tests.dear import fewer_examples
from tests.gradients.tensorflow.linear_pass import (
    LinearPass,
    literal_norms,
    predicted_rest,
    softmax_jacobian,
)

# TensorFlow takes the numbers below 1e-38 for zero.
finite = st.floats(-8, 8, width=32, allow_subnormal=False)
# Zero, or far enough from it that the derivative, one over this and the scale, is in float32 too.
apart = st.just(0.0) | st.floats(2**-10, 8, width=32) | st.floats(-8, -(2**-10), width=32)
norm_names = st.sampled_from(["l1", "l2"])


@st.composite
def classifications(draw, spread=finite, slopes=finite):
    """Logits, their Jacobian (classes, batch, pixels) and labels."""
    classes, batch, pixels = draw(st.tuples(*(st.integers(*r) for r in ((3, 6), (1, 4), (1, 5)))))
    logits = draw(npst.arrays("float32", (batch, classes), elements=spread))
    jacobian = draw(npst.arrays("float32", (classes, batch, pixels), elements=slopes))
    labels = draw(npst.arrays("int64", (batch,), elements=st.integers(0, classes - 1)))
    return logits, jacobian, labels


def norms_of(logits, jacobian, labels, form="softmax", norm="l1"):
    found = exact_norms(LinearPass(logits, jacobian), labels, form, norm)
    return [ops.convert_to_numpy(value) for value in found]


def softmax_quotient(logits, jacobian, labels, norm="l1"):
    found = norms_of(logits, jacobian, labels, "softmax", norm)
    return ops.convert_to_numpy(forms.quotient(*found))


@fewer_examples
@given(classifications(), norm_names)
def test_softmax_form_equals_the_literal_formula_in_float64(case, norm):
    label, others = literal_norms(*case, norm=norm)
    clear = others > 1e-3
    np.testing.assert_allclose(
        softmax_quotient(*case, norm)[clear],
        (label / np.where(others > 0, others, 1))[clear],
        atol=2e-4,
    )


@fewer_examples
@given(classifications(), norm_names)
def test_softmax_norms_are_the_literal_ones_divided_by_what_the_predicted_class_leaves(case, norm):
    rest = predicted_rest(case[0])
    for found, literal in zip(
        norms_of(*case, norm=norm), literal_norms(*case, norm=norm), strict=True
    ):
        np.testing.assert_allclose(found * rest, literal, rtol=1e-4, atol=1e-4 * rest.max())


@fewer_examples
@given(classifications(st.floats(-1e4, 1e4, width=32, allow_subnormal=False)), norm_names)
def test_softmax_form_lies_between_0_and_1_for_any_logits(case, norm):
    quotient = softmax_quotient(*case, norm)
    assert np.all(quotient >= 0.0)
    assert np.all(quotient <= 1.0 + 1e-5)


@fewer_examples
@given(classifications(st.integers(-8, 8).map(float)), st.sampled_from([-64.0, 16.0, 1024.0]))
def test_softmax_form_does_not_see_a_constant_added_to_all_logits(case, constant):
    logits, jacobian, labels = case
    np.testing.assert_array_equal(
        softmax_quotient(logits, jacobian, labels),
        softmax_quotient(logits + np.float32(constant), jacobian, labels),
    )


@fewer_examples
@given(classifications(slopes=apart), st.sampled_from([1e-20, 1e-12, 1e12, 1e30]), norm_names)
def test_quotient_and_its_derivative_survive_any_scale_of_the_gradients(case, scale, norm):
    logits, jacobian, labels = case
    scaled = tf.constant(jacobian * np.float32(scale), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(scaled)
        norms = exact_norms(LinearPass(logits, scaled), labels, "softmax", norm)
        total = tf.reduce_sum(forms.quotient(*norms))
    assert np.isfinite(total)
    assert np.all(np.isfinite(tape.gradient(total, scaled)))


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("margin", [1e4, -1e4, 30.0, 0.0])
def test_softmax_form_is_finite_and_informative_for_huge_logits_right_or_wrong(margin, norm, rng):
    logits = np.array([[margin, 0.0, 1.0, -1.0]], "float32")
    jacobian = rng.normal(size=(4, 1, 9)).astype("float32")
    label, others = norms_of(logits, jacobian, np.array([0]), norm=norm)
    assert np.isfinite(label)
    assert 0.0 < others < np.inf  # divided by 1 - S_m, nothing vanishes
    quotient = softmax_quotient(logits, jacobian, np.array([0]), norm)
    # A label at exp(-10,000) of the probability has no share of the movement.
    assert (quotient[0] == 0.0) if margin < 0 else (0.0 < quotient[0] <= 1.0 + 1e-6)


@pytest.mark.parametrize("form", ["softmax", "logits", "pooled"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_quotient_of_zero_gradients_is_0_with_a_zero_derivative(form, norm):
    logits = tf.constant([[1.0, 2.0, 0.0]])
    zeros = tf.zeros((3, 1, 5))
    with tf.GradientTape() as tape:
        tape.watch([logits, zeros])
        norms = exact_norms(LinearPass(logits, zeros), np.array([1]), form, norm)
        value = forms.quotient(*norms)
    assert value.numpy() == [0.0]
    for gradient in tape.gradient(value, [logits, zeros]):
        assert gradient is None or not np.any(gradient)


@fewer_examples
@given(classifications(), norm_names)
def test_logits_form_is_the_ratio_of_row_norms(case, norm):
    label, others = norms_of(*case, form="logits", norm=norm)
    expected, expected_others = literal_norms(*case, form="logits", norm=norm)
    np.testing.assert_allclose(label, expected, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(others, expected_others, rtol=1e-4, atol=1e-4)


@fewer_examples
@given(classifications(), norm_names)
def test_pooled_form_is_the_norm_of_the_label_and_of_the_sum_of_the_others(case, norm):
    label, others = norms_of(*case, form="pooled", norm=norm)
    expected, expected_others = literal_norms(*case, form="pooled", norm=norm)
    np.testing.assert_allclose(label, expected, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(others, expected_others, rtol=1e-4, atol=1e-4)


@fewer_examples
@given(classifications())
def test_pooled_norms_on_softmax_outputs_are_equal_so_the_form_is_refused_there(case):
    logits, jacobian, labels = case
    of_softmax = softmax_jacobian(logits, jacobian).astype("float32")
    label, others = norms_of(logits, of_softmax, labels, form="pooled")
    np.testing.assert_allclose(label, others, atol=1e-4)


@fewer_examples
@given(classifications())
def test_cotangents_and_weights_make_every_softmax_gradient_up_to_sign(case):
    logits, jacobian, _ = case
    classes = np.arange(logits.shape[1])[:, None] + np.zeros(len(logits), "int32")
    classes = classes.astype("int32")
    gradients = LinearPass(logits, jacobian).input_gradients(
        forms.softmax_cotangents(tf.constant(logits), classes)
    )
    weights = forms.softmax_weights(tf.constant(logits), classes)
    found = ops.convert_to_numpy(weights[..., None] * gradients)
    sign = np.where(classes == logits.argmax(-1), -1.0, 1.0)
    rest = predicted_rest(logits)[:, None]
    np.testing.assert_allclose(
        sign[..., None] * found * rest,
        softmax_jacobian(logits, jacobian),
        rtol=1e-4,
        atol=1e-4 * rest.max(),
    )


@fewer_examples
@given(classifications())
def test_other_classes_are_all_but_the_predicted_in_ascending_order(case):
    logits, _, _ = case
    predicted = ops.convert_to_numpy(forms.predicted_class(tf.constant(logits)))
    # One of the largest: Keras takes 0.0 to be above -0.0.
    np.testing.assert_array_equal(logits[np.arange(len(logits)), predicted], logits.max(-1))
    others = ops.convert_to_numpy(forms.other_classes(tf.constant(logits)))
    for winner, rest in zip(predicted, others, strict=True):
        assert [*rest] == [j for j in range(logits.shape[1]) if j != winner]


@fewer_examples
@given(classifications(st.floats(-40, 40, width=32, allow_subnormal=False)))
def test_confidence_and_what_it_leaves_are_not_rounded_by_each_other(case):
    logits, _, _ = case
    confidence, rest, log_shares = forms.confidence_and_rest(tf.constant(logits))
    expected = predicted_rest(logits)
    np.testing.assert_allclose(rest, expected, rtol=2e-5)
    np.testing.assert_allclose(confidence, 1.0 - expected, rtol=2e-5)
    shares = np.exp(ops.convert_to_numpy(log_shares))
    np.testing.assert_allclose(shares.sum(-1), 1.0, rtol=1e-5)
    assert np.all(shares[np.arange(len(logits)), logits.argmax(-1)] == 0.0)


def test_norms_are_split_into_the_labels_and_the_sum_of_the_others():
    norms = np.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]], "float32")
    classes = np.array([[4, 0], [2, 4], [0, 2]], "int32")
    label, others = forms.split_by_label(norms, classes, np.array([2, 0]))
    np.testing.assert_array_equal(label, [10.0, 2.0])
    np.testing.assert_array_equal(others, [101.0, 220.0])
