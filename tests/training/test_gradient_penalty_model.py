"""GradientPenaltyModel: the loss it minimises, against closed forms."""

import keras
import numpy as np
import pytest

import keras_lodin
from tests import networks

PIXELS, SAMPLES = 6, 8


def linear_classifier(rng):
    classifier = keras.Sequential([keras.Input((PIXELS,)), keras.layers.Dense(networks.CLASSES)])
    classifier.set_weights([rng.normal(size=w.shape) for w in classifier.get_weights()])
    return classifier


def softmax(values):
    values = np.exp(values - values.max(-1, keepdims=True))
    return values / values.sum(-1, keepdims=True)


def compiled(model, optimizer=None):
    model.compile(
        optimizer or keras.optimizers.SGD(0.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def expected(weights, x, y, scale=1.0):
    """Cross-entropy and squared gradient of each sample of a linear classifier, in float64."""
    kernel, bias = (w.astype("float64") for w in weights)
    probabilities = softmax(x @ kernel + bias)
    cross_entropy = -np.log(probabilities[np.arange(len(y)), y])
    gradient = (probabilities - np.eye(kernel.shape[1])[y]) @ kernel.T
    return cross_entropy, ((scale * gradient) ** 2).sum(-1)


@pytest.fixture
def samples(rng):
    x = rng.normal(size=(SAMPLES, PIXELS)).astype("float32")
    return x, rng.integers(0, networks.CLASSES, SAMPLES)


@pytest.mark.parametrize("input_range", [(0, 1), (-1.0, 3.0)])
def test_loss_is_cross_entropy_plus_the_squared_gradient_per_input_range(input_range, rng, samples):
    classifier = linear_classifier(rng)
    model = keras_lodin.GradientPenaltyModel(classifier, 0.3, input_range)
    logs = compiled(model).train_on_batch(*samples, return_dict=True)
    scale = input_range[1] - input_range[0]
    cross_entropy, penalty = expected(classifier.get_weights(), *samples, scale)
    np.testing.assert_allclose(logs["gradient_penalty"], penalty.mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], cross_entropy.mean() + 0.3 * penalty.mean(), rtol=1e-5)


def test_weight_gradient_equals_finite_differences_of_the_closed_form(rng, samples):
    classifier = linear_classifier(rng)
    model = compiled(keras_lodin.GradientPenaltyModel(classifier, 0.7), keras.optimizers.SGD(1.0))
    before = [w.astype("float64") for w in classifier.get_weights()]
    direction = [rng.normal(size=w.shape) for w in before]

    def loss(step):
        moved = [w + step * d for w, d in zip(before, direction, strict=True)]
        cross_entropy, penalty = expected(moved, *samples)
        return cross_entropy.mean() + 0.7 * penalty.mean()

    model.train_on_batch(*samples)
    gradient = [b - a for b, a in zip(before, classifier.get_weights(), strict=True)]
    slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
    np.testing.assert_allclose(slope, (loss(1e-5) - loss(-1e-5)) / 2e-5, rtol=1e-4)


def test_sample_weights_weigh_the_penalty_as_the_loss(rng, samples):
    classifier = linear_classifier(rng)
    model = compiled(keras_lodin.GradientPenaltyModel(classifier, 0.5))
    weights = rng.uniform(size=SAMPLES)
    logs = model.train_on_batch(*samples, sample_weight=weights, return_dict=True)
    cross_entropy, penalty = expected(classifier.get_weights(), *samples)
    np.testing.assert_allclose(
        logs["loss"], (weights * (cross_entropy + 0.5 * penalty)).mean(), rtol=1e-5
    )


@pytest.mark.slow
def test_training_flattens_the_loss_around_the_data(images, labels):
    penalties = {}
    for weight in (1e-9, 1.0):
        keras.utils.set_random_seed(0)
        model = keras_lodin.GradientPenaltyModel(networks.convolutional(), weight)
        compiled(model, keras.optimizers.Adam(0.01))
        penalties[weight] = model.fit(images, labels, epochs=40, verbose=0).history[
            "gradient_penalty"
        ][-1]
    assert penalties[1.0] < 0.5 * penalties[1e-9]


@pytest.mark.slow
def test_weight_zero_trains_exactly_as_plain_keras(images, labels):
    first, second = networks.convolutional(True), networks.convolutional(True)
    second.set_weights(first.get_weights())
    model = compiled(keras_lodin.GradientPenaltyModel(first, 0.0), keras.optimizers.SGD(0.1))
    history = model.fit(images, labels, epochs=2, shuffle=False, verbose=0).history
    compiled(second, keras.optimizers.SGD(0.1)).fit(
        images, labels, epochs=2, shuffle=False, verbose=0
    )
    for ours, keras_own in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, keras_own)
    assert "gradient_penalty" not in history


def test_saved_training_goes_on_with_the_same_settings(tmp_path, images, labels):
    model = compiled(
        keras_lodin.GradientPenaltyModel(networks.convolutional(), 0.2, (0, 2)),
        keras.optimizers.SGD(0.1, momentum=0.9),
    )
    model.fit(images, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert (again.penalty_weight, again.input_range) == (0.2, (0.0, 2.0))
    for one in (model, again):
        one.fit(images, labels, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty_weight": -1.0}, "penalty_weight"),
        ({"penalty_weight": float("nan")}, "penalty_weight"),
        ({"input_range": (1, 1)}, "input_range"),
    ],
)
def test_impossible_settings_are_refused(settings, message, classifier):
    with pytest.raises(ValueError, match=message):
        keras_lodin.GradientPenaltyModel(classifier, **settings)
