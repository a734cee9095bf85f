"""The estimators that draw: what is unbiased, how noisy it is, and how biased the quotient.

A sample is repeated along the batch, so that one call makes thousands of independent draws.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_lodin.gradients import ForwardPass
from keras_lodin.quotient import forms
from keras_lodin.quotient.estimators import exact_norms, projected_norms, sampled_norms
from tests import networks
from tests.gradients.tensorflow.linear_pass import LinearPass, literal_norms, predicted_rest

DRAWS = 4000
PIXELS = 4
LARGEST_SLOW = pytest.mark.parametrize(
    "classes", [10, 100, pytest.param(1000, marks=pytest.mark.slow)]
)
SMALL = pytest.mark.parametrize("classes", [10, 100])
# The label: the most probable class, or one of the others.
RANKS = pytest.mark.parametrize("rank", [0, 3], ids=["right", "wrong"])


def sample(classes, rank):
    """Logits (1, classes), a Jacobian whose rows differ in length, and the label."""
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(1, classes)) * 2.0
    lengths = np.exp(0.7 * rng.normal(size=(classes, 1, 1)))
    jacobian = lengths * rng.normal(size=(classes, 1, PIXELS))
    label = np.argsort(-logits, axis=-1)[:, rank]
    return logits.astype("float32"), jacobian.astype("float32"), label


def exact(case, form="softmax", norm="l1"):
    """Both norms in float64, in the package's scale."""
    rest = predicted_rest(case[0])[0] if form == "softmax" else 1.0
    return [float(literal[0] / rest) for literal in literal_norms(*case, form=form, norm=norm)]


def draws_of(estimate, case, form="softmax", samples=1, norm="l1", seed=1, count=DRAWS):
    """Both norms of `count` independent draws, in float64."""
    logits, jacobian, label = case
    forward_pass = LinearPass(np.repeat(logits, count, 0), np.repeat(jacobian, count, 1))
    norms = estimate(forward_pass, np.repeat(label, count), form, samples, norm, seed)
    return [ops.convert_to_numpy(value).astype("float64") for value in norms]


def assert_unbiased(draws, expected, deviations=4.5, atol=0.0):
    """The mean over the first axis lies within some standard errors of what is expected."""
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    distance = np.abs(draws.mean(axis=0) - expected)
    np.testing.assert_array_less(distance, deviations * error + atol + 1e-5 * np.abs(expected))


@pytest.mark.grid(2)
@pytest.mark.parametrize("form", ["softmax", "logits"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
@LARGEST_SLOW
@RANKS
def test_sampled_label_norm_is_exact_and_that_of_the_others_unbiased(form, norm, classes, rank):
    case = sample(classes, rank)
    label, others = draws_of(sampled_norms, case, form, 2, norm)
    expected_label, expected_others = exact(case, form, norm)
    np.testing.assert_allclose(label, expected_label, rtol=1e-4)
    assert_unbiased(others, expected_others)
    assert others.std() > 0.01 * expected_others  # there is something to average


@LARGEST_SLOW
@RANKS
def test_sampled_variance_falls_as_one_over_the_draws(classes, rank):
    case = sample(classes, rank)
    # The right label leaves its pass to one draw more.
    few, many = (1, 7) if rank == 0 else (1, 4)
    variances = [draws_of(sampled_norms, case, samples=k)[1].var() for k in (few, many)]
    assert variances[0] / variances[1] == pytest.approx(4.0, rel=0.2)


@pytest.mark.grid(3)
@LARGEST_SLOW
@RANKS
def test_sampled_quotient_is_biased_by_the_relative_variance_of_its_denominator(classes, rank):
    case = sample(classes, rank)
    label, others = exact(case)
    biases = []
    for samples in (2, 8):
        drawn = draws_of(sampled_norms, case, samples=samples, count=2 * DRAWS)
        quotients = ops.convert_to_numpy(forms.quotient(*drawn)).astype("float64")
        bias = quotients.mean() - label / others
        expected = label / others * drawn[1].var() / others**2
        assert bias == pytest.approx(expected, rel=0.6)
        biases.append(bias)
    assert 0.0 < biases[1] < 0.6 * biases[0]


@pytest.mark.parametrize("form", ["softmax", "logits", "pooled"])
@SMALL
@RANKS
def test_projected_l2_norms_are_unbiased_with_the_variance_of_a_half_normal(form, classes, rank):
    case = sample(classes, rank)
    expected_label, expected_others = exact(case, form, "l2")
    for samples in (1, 4):
        label, others = draws_of(projected_norms, case, form, samples, "l2")
        assert_unbiased(label, expected_label)
        assert_unbiased(others, expected_others)
        variance = (np.pi / 2 - 1) / samples * expected_label**2
        assert label.var() == pytest.approx(variance, rel=0.15)


@SMALL
@RANKS
def test_projected_variance_of_the_others_falls_as_one_over_the_directions(classes, rank):
    case = sample(classes, rank)
    variances = [draws_of(projected_norms, case, samples=k, norm="l2")[1].var() for k in (1, 4)]
    assert variances[0] / variances[1] == pytest.approx(4.0, rel=0.2)


@pytest.mark.grid(4)
@SMALL
@RANKS
def test_projected_quotient_approaches_the_exact_one_with_more_directions(classes, rank):
    case = sample(classes, rank)
    label, others = exact(case, norm="l2")
    distances = []
    for samples in (1, 4, 16):
        drawn = draws_of(projected_norms, case, samples=samples, norm="l2")
        quotients = ops.convert_to_numpy(forms.quotient(*drawn))
        distances.append(np.sqrt(np.mean((quotients - label / others) ** 2)))
    assert distances[0] > 1.5 * distances[1] > 1.5**2 * distances[2]


@SMALL
@RANKS
def test_projected_l1_norms_are_unbiased_as_geometric_means(classes, rank):
    case = sample(classes, rank)
    label, others = draws_of(projected_norms, case, samples=3, norm="l1")
    expected_label, expected_others = exact(case)
    assert_unbiased(label, expected_label)
    assert_unbiased(others, expected_others)


@SMALL
@RANKS
def test_projected_l1_norm_along_one_direction_is_unbiased_in_the_logarithm(classes, rank):
    case = sample(classes, rank)
    label, _ = draws_of(projected_norms, case, samples=1, norm="l1")
    assert_unbiased(np.log(label), np.log(exact(case)[0]))
    # The logarithm of the absolute value of a Cauchy number has the variance pi^2 / 4.
    assert np.log(label).var() == pytest.approx(np.pi**2 / 4, rel=0.15)


ESTIMATORS_AND_NORMS = pytest.mark.parametrize(
    ("estimate", "norm"),
    [(sampled_norms, "l1"), (sampled_norms, "l2"), (projected_norms, "l2")],
    ids=["sampled-l1", "sampled-l2", "projected-l2"],
)


def derivatives(norms_of, logits, jacobian):
    """Derivatives of each norm with respect to logits and Jacobian: sample by sample."""
    logits, jacobian = tf.constant(logits), tf.constant(jacobian)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([logits, jacobian])
        norms = norms_of(LinearPass(logits, jacobian))
    found = []
    for norm in norms:
        for_logits, for_jacobian = tape.gradient(norm, [logits, jacobian])
        if for_logits is None:
            for_logits = tf.zeros_like(logits)
        found += [for_logits.numpy(), for_jacobian.numpy().swapaxes(0, 1)]
    return [values.astype("float64") for values in found]


@pytest.mark.grid(5)
@pytest.mark.parametrize("form", ["softmax", "logits"])
@ESTIMATORS_AND_NORMS
@RANKS
def test_derivatives_of_both_norms_are_unbiased(form, estimate, norm, rank):
    logits, jacobian, label = sample(10, rank)
    expected = derivatives(
        lambda forward_pass: exact_norms(forward_pass, label, form, norm), logits, jacobian
    )
    drawn = derivatives(
        lambda forward_pass: estimate(forward_pass, np.repeat(label, DRAWS), form, 2, norm, seed=3),
        np.repeat(logits, DRAWS, 0),
        np.repeat(jacobian, DRAWS, 1),
    )
    for found, exact_value in zip(drawn, expected, strict=True):
        assert_unbiased(found, exact_value[0], deviations=5.0, atol=1e-5)


def weight_gradient_function(model, estimate, norm, reduce):
    """A compiled function of (x, y): the weights' gradients of something of the two norms."""
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def gradients(x, y):
        with tf.GradientTape() as tape:
            forward_pass = ForwardPass(lambda inputs: model(inputs, training=True), x)
            total = tf.reduce_mean(reduce(*estimate(forward_pass, y, norm)))
        found = tape.gradient(total, weights, unconnected_gradients="zero")
        return tf.concat([tf.reshape(gradient, [-1]) for gradient in found], 0)

    return gradients


def drawing(estimate, samples, seed):
    generator = keras.random.SeedGenerator(seed)
    return lambda forward_pass, y, norm: estimate(
        forward_pass, y, "softmax", samples, norm, generator
    )


def exactly(forward_pass, y, norm):
    return exact_norms(forward_pass, y, "softmax", norm)


@pytest.mark.grid(10)
@ESTIMATORS_AND_NORMS
@pytest.mark.parametrize(
    "which", [lambda label, others: label, lambda label, others: others], ids=["label", "others"]
)
def test_weight_gradients_of_a_network_are_unbiased(estimate, norm, which, rng):
    model = networks.dense(shape=(10,))
    x = rng.normal(size=(4, 10)).astype("float32")
    y = model.predict(x, verbose=0).argmax(-1)
    y[2:] = (y[2:] + 1) % networks.CLASSES
    expected = weight_gradient_function(model, exactly, norm, which)(x, y).numpy()
    draw = weight_gradient_function(model, drawing(estimate, 1, seed=5), norm, which)
    x, y = np.repeat(x, 50, 0), np.repeat(y, 50)
    found = np.stack([draw(x, y).numpy() for _ in range(60)]).astype("float64")
    assert_unbiased(found, expected, deviations=5.0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.grid(3)
@ESTIMATORS_AND_NORMS
def test_weight_gradient_of_the_quotient_turns_to_the_exact_one_with_more_draws(
    estimate, norm, rng
):
    model = networks.dense(shape=(10,), classes=20)
    x = rng.normal(size=(6, 10)).astype("float32")
    y = rng.integers(0, 20, size=6)
    expected = weight_gradient_function(model, exactly, norm, forms.quotient)(x, y)
    expected = expected.numpy()
    means = []
    for samples in (1, 4, 16):
        draw = weight_gradient_function(
            model, drawing(estimate, samples, seed=5), norm, forms.quotient
        )
        cosines = []
        for _ in range(30):
            found = draw(x, y).numpy()
            lengths = np.linalg.norm(found) * np.linalg.norm(expected)
            cosines.append(found @ expected / lengths)
        means.append(np.mean(cosines))
    assert 0.1 < means[0] < means[1] < means[2]
    assert means[2] > 0.8


@pytest.mark.parametrize("estimate", [sampled_norms, projected_norms])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_seed_alone_decides_what_is_drawn(estimate, norm):
    case = sample(10, 3)
    first, again, other = (
        draws_of(estimate, case, samples=2, norm=norm, seed=seed, count=20) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize("estimate", [sampled_norms, projected_norms])
def test_a_generator_gives_other_draws_at_every_call(estimate):
    case, generator = sample(10, 3), keras.random.SeedGenerator(1)
    first, second = (draws_of(estimate, case, seed=generator, count=20)[1] for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("estimate", [sampled_norms, projected_norms])
def test_zero_gradients_give_norms_of_0_with_zero_derivatives(estimate, norm):
    logits, jacobian, label = sample(10, 3)
    norms = draws_of(estimate, (logits, 0.0 * jacobian, label), samples=2, norm=norm, count=3)
    assert not np.any(norms)
    found = derivatives(
        lambda forward_pass: estimate(forward_pass, label, "softmax", 2, norm, 1),
        logits,
        0.0 * jacobian,
    )
    for gradient in found:
        assert not np.any(gradient)


@pytest.mark.parametrize("margin", [1e4, -1e4])
@pytest.mark.parametrize("estimate", [sampled_norms, projected_norms])
def test_huge_logits_right_or_wrong_give_finite_norms_and_derivatives(estimate, margin, rng):
    logits = np.array([[margin, 0.0, 1.0, -1.0]], "float32")
    jacobian = rng.normal(size=(4, 1, PIXELS)).astype("float32")
    label, others = draws_of(estimate, (logits, jacobian, [0]), samples=2, norm="l2", count=9)
    assert np.all(np.isfinite(label))
    assert np.all((others > 0.0) & np.isfinite(others))
    found = derivatives(
        lambda forward_pass: estimate(forward_pass, [0], "softmax", 2, "l2", 1), logits, jacobian
    )
    for gradient in found:
        assert np.all(np.isfinite(gradient))
