"""Ways to the two norms that a Gradient Quotient divides: exact, sampled, projected.

Cost in training, counting a plain step as three forward-equivalents (forward, backward to the
activations, backward to the weights). A backward pass to the inputs costs one, and to be
differentiated itself two more; so P of them cost a step of `(3 + 3 P) / 3 = P + 1` plain ones.

| estimator    | passes                                  | plain steps | what is unbiased         |
|--------------|-----------------------------------------|-------------|--------------------------|
| exact        | N - 1 (softmax), N (logits), 2 (pooled) | N, N + 1, 3 | everything               |
|  of features | D + 1 (softmax), D (logits), D features | D + 2, D + 1| everything               |
| sampled, K   | K + 2 (softmax), K + 1 (logits)         | K + 3, K + 2| both norms               |
| projected, K | K in forward mode, for all N classes    | K + 1       | both norms, L2           |

Every function here gives the label's norm and the sum of the others', `(batch,)` each. The
quotient of two unbiased norms is itself biased, by about its value times the relative variance of
its denominator: `docs/performance.md` has the measured sizes.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import keras
from keras import ops

from keras_lodin.gradients import ForwardPass
from keras_lodin.gradients.norms import (
    gradient_norms,
    gradients_kept,
    norms,
    norms_of_combinations,
    weighted_sum,
)
from keras_lodin.quotient import forms
from keras_lodin.utils.tensor import Tensor

Seed: TypeAlias = int | keras.random.SeedGenerator | None

FORMS = ("softmax", "logits", "pooled")
ESTIMATORS = ("exact", "sampled", "projected")
NORMS = ("l1", "l2")

# Smaller than any norm that is not 0.
_TINY = 1e-30


def exact_norms(
    forward_pass: ForwardPass,
    labels: Tensor,
    form: str,
    norm: str = "l1",
    chunk_size: int | None = None,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Every class's norm.

    The softmax form needs no pass for the predicted class: its gradient is minus the sum of the
    others'.

    Args:
        forward_pass: of the classifier, over a batch.
        labels: integer tensor of shape `(batch,)`.
        form: one of `FORMS`.
        norm: one of `NORMS`.
        chunk_size: None, or how many classes to hold in memory at a time; see
            `gradient_norms`.
        temperature: what the softmax form divides the logits by.
    """
    logits = forward_pass.logits / temperature
    if form == "pooled":
        cotangents = forms.pooled_cotangents(logits, labels)
        pooled, _ = gradient_norms(forward_pass, cotangents, norm, None, chunk_size)
        return pooled[0], pooled[1]
    if form == "logits":
        classes = _every_class(logits)
        features = forward_pass.features
        if features is None:
            cotangents = forms.class_cotangents(logits, classes)
            found, _ = gradient_norms(forward_pass, cotangents, norm, None, chunk_size)
        else:
            gradients = gradients_kept(features, _every_feature(features), chunk_size)
            kernel = ops.transpose(forward_pass.kernel)
            nothing = ops.zeros_like(gradients[0])
            found = norms_of_combinations(gradients, kernel, nothing, norm)
        return forms.split_by_label(found, classes, labels)
    if forward_pass.features is not None:
        return _softmax_norms_through_features(
            forward_pass, forward_pass.features, labels, norm, chunk_size, temperature
        )
    classes = ops.transpose(forms.other_classes(logits))
    cotangents = forms.softmax_cotangents(logits, classes)
    weights = forms.softmax_weights(logits, classes)
    found, predicted_norm = gradient_norms(forward_pass, cotangents, norm, weights, chunk_size)
    return forms.split_by_label(
        ops.concatenate([weights * found, predicted_norm[None]]),
        ops.concatenate([classes, forms.predicted_class(logits)[None]]),
        labels,
    )


def _softmax_norms_through_features(
    forward_pass: ForwardPass,
    features: ForwardPass,
    labels: Tensor,
    norm: str,
    chunk_size: int | None,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Every class's norm of the softmax form, from the features' gradients and one more.

    With logits `f_j = w_j h + b_j` and H the gradients of the features h,

        d S_j / S_j = d log S_j = w_j H - sum_i S_i w_i H,

    of which the last term, the same for all classes, is one backward pass at a cotangent of its
    own for each sample. Where samples move each other, by the statistics of their batch, the
    gradient of class j includes how an input moves class j of the others.
    """
    logits = forward_pass.logits / temperature
    # A constant on all logits cancels before anything is rounded.
    kernel = forward_pass.kernel - ops.mean(forward_pass.kernel, axis=-1, keepdims=True)
    kernel = ops.transpose(kernel)
    shared = -ops.matmul(ops.softmax(logits), kernel)
    cotangents = ops.concatenate([_every_feature(features), shared[None]])
    gradients = gradients_kept(features, cotangents, chunk_size)
    gradients, shared = gradients[:-1], gradients[-1]
    predicted = forms.predicted_class(logits)
    classes = _every_class(logits)
    _, _, log_shares = forms.confidence_and_rest(logits)
    shares = ops.exp(log_shares)
    found = ops.transpose(shares) * norms_of_combinations(gradients, kernel, shared, norm)
    # As all gradients of a softmax sum to zero, the predicted class's is minus the others' sum.
    along = weighted_sum(ops.transpose(ops.matmul(shares, kernel)), gradients) + shared
    is_predicted = ops.equal(classes, predicted[None])
    return forms.split_by_label(
        ops.where(is_predicted, norms(along[None], norm), found), classes, labels
    )


def sampled_norms(
    forward_pass: ForwardPass,
    labels: Tensor,
    form: str,
    samples: int,
    norm: str,
    seed: Seed,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The label's norm exactly, and the others' from a few of them.

    In the softmax form the predicted class m, which weighs most, is never left to chance. The
    others are drawn with the probability that they weigh with, and what is averaged over the
    draws is only by how much they disagree with their own sum R, which is known exactly, as all
    gradients of a softmax sum to zero:

        sum_j r_j ||C_j|| = ||R|| + E_{j ~ r} (||C_j|| - <s, C_j>),    s the direction of R

    with `<s, R> = ||R||` and both terms not negative. That leaves little to the draws, and the
    cancellation in a quotient near 1 intact. Where the label is the predicted class, the pass that
    another sample spends on its label is one draw more. In the logits form the draws are uniform.
    The probability of a draw is taken as constant, so that the derivatives of both norms are
    unbiased as well; and so is s, whose own derivative is orthogonal to R and averages to nothing.

    Args:
        forward_pass, labels, norm, temperature: as of `exact_norms`.
        form: "softmax" or "logits".
        samples: K, how many of the others to draw.
        seed: an integer or a `keras.random.SeedGenerator`.
    """
    logits = forward_pass.logits / temperature
    labels = ops.cast(labels, "int32")
    if form == "logits":
        log_probability = ops.where(forms.is_class(logits, labels), -float("inf"), 0.0 * logits)
        draws = ops.transpose(keras.random.categorical(log_probability, samples, seed=seed))
        classes = ops.concatenate([labels[None], ops.cast(draws, "int32")])
        cotangents = forms.class_cotangents(logits, classes)
        found, _ = gradient_norms(forward_pass, cotangents, norm)
        return found[0], ops.mean(found[1:], axis=0) * (logits.shape[-1] - 1)

    predicted = forms.predicted_class(logits)
    is_right = ops.equal(labels, predicted)
    _, _, log_shares = forms.confidence_and_rest(logits)
    # The predicted class is at minus infinity already, the label is now.
    candidates = ops.where(forms.is_class(logits, labels), -float("inf"), log_shares)
    draws = ops.cast(keras.random.categorical(candidates, samples + 1, seed=seed), "int32")
    draws = ops.transpose(draws)
    second = ops.where(is_right, draws[0], labels)
    classes = ops.concatenate([predicted[None], second[None], draws[1:]])
    gradients = forward_pass.input_gradients(forms.softmax_cotangents(logits, classes))
    weights = forms.softmax_weights(logits, classes)
    found = norms(gradients, norm)
    label_weight = ops.where(is_right, 0.0, weights[1])
    remaining = _per_sample(weights[0], gradients) * gradients[0]
    remaining = remaining - _per_sample(label_weight, gradients) * gradients[1]
    remaining_norm = norms(remaining[None], norm)[0]
    direction = ops.stop_gradient(
        ops.sign(remaining)
        if norm == "l1"
        else remaining / _per_sample(ops.maximum(remaining_norm, _TINY), gradients)
    )
    along = ops.sum(direction[None] * gradients, axis=tuple(range(2, len(gradients.shape))))

    # The probability of each draw: a softmax over the candidates.
    finite = ops.where(candidates > -float("inf"), candidates, -1e30)
    log_probability = ops.stop_gradient(finite - ops.logsumexp(finite, axis=-1)[:, None])
    drawn = ops.transpose(ops.take_along_axis(log_probability, ops.transpose(classes), axis=-1))
    counts = ops.where(is_right, samples + 1.0, float(samples))
    is_draw = [ops.zeros_like(is_right)[None], is_right[None], ops.ones_like(draws[1:], "bool")]
    is_draw = ops.concatenate(is_draw)
    shares = weights * (found - along) * ops.exp(-ops.where(is_draw, drawn, 0.0)) / counts
    disagreement = ops.sum(ops.where(is_draw, shares, 0.0), axis=0)
    weighted = weights * found
    return (
        ops.where(is_right, weighted[0], weighted[1]),
        ops.where(is_right, 0.0, weighted[0]) + remaining_norm + disagreement,
    )


def projected_norms(
    forward_pass: ForwardPass,
    labels: Tensor,
    form: str,
    samples: int,
    norm: str,
    seed: Seed,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """All norms from directional derivatives along a few random directions v.

    With v of standard normal numbers, `d S_j . v` is normal with the standard deviation
    `||d S_j||_2`, so its mean absolute value is `sqrt(2 / pi) ||d S_j||_2`. With v of Cauchy
    numbers it is `||d S_j||_1` times a Cauchy number, whose mean absolute value is infinite and
    whose mean logarithm is 0: the geometric mean over the draws is taken, unbiased for K > 1 with
    the factor `cos(pi / 2 K)^K` (Li, Hastie & Church 2007), in the logarithm for K = 1. Its
    derivative has no finite variance; "l2" is the norm to train with.

    Args:
        forward_pass, labels, norm, temperature: as of `exact_norms`.
        samples: K, how many directions to draw.
        seed: an integer or a `keras.random.SeedGenerator`.
    """
    logits = forward_pass.logits / temperature
    # In one draw: with an integer as seed, several would all be the same.
    shape = (samples, *ops.shape(forward_pass.inputs))
    if norm == "l2":
        directions = keras.random.normal(shape, dtype="float32", seed=seed)
    else:
        uniform = keras.random.uniform(shape, -0.5, 0.5, dtype="float32", seed=seed)
        directions = ops.tan(math.pi * uniform)
    along = []
    for number in range(samples):
        derivative = forward_pass.directional_derivative(directions[number])
        along.append(_softmax_derivative(logits, derivative, labels, form))
    values = ops.abs(ops.stack(along))  # (samples, classes, batch)
    if norm == "l2":
        found = math.sqrt(math.pi / 2.0) * ops.mean(values, axis=0)
    else:
        factor = math.cos(math.pi / (2 * samples)) ** samples if samples > 1 else 1.0
        some = values > 0.0
        logarithms = ops.log(ops.where(some, values, 1.0))
        mean = ops.exp(ops.mean(logarithms, axis=0))
        found = factor * ops.where(ops.all(some, axis=0), mean, 0.0)
    if form == "pooled":
        return found[0], found[1]
    return forms.split_by_label(found, _every_class(logits), labels)


def _softmax_derivative(logits: Tensor, derivative: Tensor, labels: Tensor, form: str) -> Tensor:
    """What `form` takes norms of, from a directional derivative of the logits.

    Returns:
        float32 tensor of shape `(classes, batch)`, or `(2, batch)` for "pooled".
    """
    if form == "logits":
        return ops.transpose(derivative)
    if form == "pooled":
        cotangents = forms.pooled_cotangents(logits, labels)
        return ops.sum(cotangents * derivative[None], axis=-1)
    # As the cotangents of `forms.softmax_cotangents` would multiply it.
    predicted = forms.predicted_class(logits)
    confidence, rest, log_shares = forms.confidence_and_rest(logits)
    shares = ops.exp(log_shares)
    relative = derivative - ops.take_along_axis(derivative, predicted[:, None], axis=-1)
    mean = ops.sum(shares * relative, axis=-1, keepdims=True)
    others = shares * (relative - rest[:, None] * mean)
    return ops.transpose(
        ops.where(forms.is_class(logits, predicted), confidence[:, None] * mean, others)
    )


def _per_sample(values: Tensor, gradients: Tensor) -> Tensor:
    """Numbers of shape `(batch,)` in a shape that multiplies `(batch, ...)` of some gradients."""
    return ops.reshape(values, (-1, *[1] * (len(gradients.shape) - 2)))


def _every_feature(features: ForwardPass) -> Tensor:
    """Cotangents whose vector-Jacobian products are the gradients of a pass's own outputs.

    Returns:
        float32 tensor of shape `(size, batch, size)`.
    """
    values = features.logits
    return ops.eye(values.shape[-1], dtype="float32")[:, None] + ops.zeros_like(values)[None]


def _every_class(logits: Tensor) -> Tensor:
    """All classes for every sample: int32, `(classes, batch)`."""
    classes = ops.arange(logits.shape[-1], dtype="int32")
    return classes[:, None] + ops.zeros_like(forms.predicted_class(logits))[None]
