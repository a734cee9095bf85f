"""The quotient's forms against literal float64 arithmetic, as properties."""

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_lodin import quotient_forms

finite = st.floats(-8, 8, width=32)


@st.composite
def classifications(draw, spread=finite):
    """Logits, their Jacobian (classes, batch, pixels) and labels."""
    classes, batch, pixels = draw(st.tuples(*(st.integers(*r) for r in ((3, 6), (1, 4), (1, 5)))))
    logits = draw(npst.arrays("float32", (batch, classes), elements=spread))
    jacobian = draw(npst.arrays("float32", (classes, batch, pixels), elements=finite))
    labels = draw(npst.arrays("int64", (batch,), elements=st.integers(0, classes - 1)))
    return logits, jacobian, labels


def differences(logits, jacobian):
    """What a classifier with this Jacobian returns for `difference_cotangents`."""
    cotangents = ops.convert_to_numpy(quotient_forms.difference_cotangents(logits))
    return np.einsum("kbn,nbp->kbp", cotangents, jacobian)


def softmax_quotient(logits, jacobian, labels):
    norms = quotient_forms.softmax_norms(
        ops.convert_to_tensor(logits), differences(logits, jacobian), labels
    )
    return ops.convert_to_numpy(quotient_forms.quotient(*norms))


def literal_quotient(logits, jacobian, labels):
    """The poster's formula as it is written, in float64."""
    logits, jacobian = logits.astype("float64"), jacobian.astype("float64")
    softmax = np.exp(logits - logits.max(-1, keepdims=True))
    softmax /= softmax.sum(-1, keepdims=True)
    mean = np.einsum("bn,nbp->bp", softmax, jacobian)
    norms = np.abs(softmax.T[:, :, None] * (jacobian - mean)).sum(-1)
    label = norms[labels, np.arange(len(labels))]
    return label, norms.sum(0) - label


@given(classifications())
def test_softmax_form_equals_the_literal_formula_in_float64(case):
    label, others = literal_quotient(*case)
    clear = others > 1e-3
    np.testing.assert_allclose(
        softmax_quotient(*case)[clear], (label / np.where(others > 0, others, 1))[clear], atol=2e-4
    )


@given(classifications(st.floats(-1e4, 1e4, width=32)))
def test_softmax_form_lies_between_0_and_1_for_any_logits(case):
    quotient = softmax_quotient(*case)
    assert np.all(quotient >= 0.0)
    assert np.all(quotient <= 1.0 + 1e-5)


@given(classifications(st.integers(-8, 8).map(float)), st.sampled_from([-64.0, 16.0, 1024.0]))
def test_softmax_form_does_not_see_a_constant_added_to_all_logits(case, constant):
    logits, jacobian, labels = case
    np.testing.assert_array_equal(
        softmax_quotient(logits, jacobian, labels),
        softmax_quotient(logits + np.float32(constant), jacobian, labels),
    )


@given(classifications(), st.sampled_from([1e-30, 1e-12, 1e12, 1e30]))
def test_quotient_and_its_derivative_survive_any_scale_of_the_gradients(case, scale):
    logits, jacobian, labels = case
    given_differences = tf.constant(differences(logits, jacobian) * np.float32(scale), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(given_differences)
        norms = quotient_forms.softmax_norms(tf.constant(logits), given_differences, labels)
        total = tf.reduce_sum(quotient_forms.quotient(*norms))
    assert np.isfinite(total)
    assert np.all(np.isfinite(tape.gradient(total, given_differences) * np.float32(scale)))


@pytest.mark.parametrize("margin", [1e4, -1e4, 30.0, 0.0])
def test_softmax_form_is_finite_and_informative_for_huge_logits_right_or_wrong(margin, rng):
    logits = np.array([[margin, 0.0, 1.0, -1.0]], "float32")
    jacobian = rng.normal(size=(4, 1, 9)).astype("float32")
    label, others = quotient_forms.softmax_norms(
        ops.convert_to_tensor(logits), differences(logits, jacobian), np.array([0])
    )
    assert np.isfinite(label)
    assert 0.0 < others < np.inf  # divided by 1 - S_m, nothing vanishes
    quotient = softmax_quotient(logits, jacobian, np.array([0]))
    # A label at exp(-10,000) of the probability has no share of the movement.
    assert (quotient[0] == 0.0) if margin < 0 else (0.0 < quotient[0] <= 1.0)


def test_quotient_of_zero_gradients_is_0_with_a_zero_derivative():
    logits = tf.constant([[1.0, 2.0, 0.0]])
    zeros = tf.zeros((2, 1, 5))
    with tf.GradientTape() as tape:
        tape.watch([logits, zeros])
        value = quotient_forms.quotient(*quotient_forms.softmax_norms(logits, zeros, [1]))
    assert value.numpy() == [0.0]
    for gradient in tape.gradient(value, [logits, zeros]):
        assert not np.any(gradient)


@given(classifications())
def test_logits_form_is_the_ratio_of_row_norms(case):
    _, jacobian, labels = case
    label, others = quotient_forms.logits_norms(jacobian, labels)
    norms = np.abs(jacobian).sum(-1)
    expected = norms[labels, np.arange(len(labels))]
    np.testing.assert_allclose(label, expected, rtol=1e-5)
    np.testing.assert_allclose(others, norms.sum(0) - expected, rtol=1e-4, atol=1e-4)


@given(classifications())
def test_pooled_norms_on_softmax_outputs_are_equal_so_the_form_is_refused_there(case):
    logits, jacobian, labels = case
    softmax = tf.nn.softmax(logits).numpy()
    mean = np.einsum("bn,nbp->bp", softmax, jacobian)
    softmax_jacobian = softmax.T[:, :, None] * (jacobian - mean)
    cotangents = ops.convert_to_numpy(quotient_forms.pooled_cotangents(logits, labels))
    gradients = np.einsum("kbn,nbp->kbp", cotangents, softmax_jacobian)
    label, others = quotient_forms.pooled_norms(gradients)
    np.testing.assert_allclose(label, others, atol=1e-4)


@given(classifications())
def test_cotangents_pick_the_classes_they_name(case):
    logits, jacobian, _ = case
    predicted = ops.convert_to_numpy(ops.argmax(logits, axis=-1))
    others = ops.convert_to_numpy(quotient_forms.other_classes(logits))
    for row, (winner, rest) in enumerate(zip(predicted, others, strict=True)):
        assert [*rest] == [j for j in range(logits.shape[1]) if j != winner]
        for slot, j in enumerate(rest):
            np.testing.assert_allclose(
                differences(logits, jacobian)[slot, row],
                jacobian[j, row] - jacobian[winner, row],
                rtol=1e-5,
                atol=1e-5,
            )
