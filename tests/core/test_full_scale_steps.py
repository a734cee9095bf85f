"""The training loop of `benchmarks/full_scale.py` against the product, step for step."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

if os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("the loop is PyTorch's", allow_module_level=True)

import keras
import torch

from keras_lodin import GQModel, GradientPenaltyModel, detectors, losses
from keras_lodin.detectors.shared_passes import shared_passes
from keras_lodin.training.step_seeds import StepSeeds

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from scale import networks, scores, training
from scale.figures import DETECTORS
from scale.layers import PLAIN, Arithmetic
from scale.methods import Method
from scale.plan import MOMENTUM, PADDING, WEIGHT_DECAY
from scale.training import Numbers, Program

STEPS, BATCH, SIZE, SEED, RATE = 2, 8, 16, 7, 0.05
# Every kind of method on the poster's kind of network, and some on each of the others. The weights
# are such that the term counts: at 1e-6 a wrong one could not be seen.
CASES = {
    "wide_resnet_10_1": [
        "off",
        "label_smoothing:0.1",
        "logit_norm:0.04",
        "gq pooled exact 0.5",
        "gq softmax exact 0.5",
        "gq logits exact 0.5",
        "gq logits sampled 1",
        "gradient_penalty 0.1",
        "label_smoothing:0.1 + gq logits sampled -0.1",
        "logit_norm:0.04 + gq logits exact -0.1",
    ],
    "wide_resnet_34_1": ["off"],
    "resnet20": ["off", "logit_norm:0.04", "gq logits sampled 1", "gq pooled exact 0.5"],
    "resnet18_width4": ["off", "gq logits sampled 1", "gq pooled exact 0.5"],
}
WHOLE = Arithmetic(torch.float32, torch.float32, PLAIN)


def new_model(network):
    return networks.new_model(network, 3, (SIZE, SIZE, 3))


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(5)
    return [
        (rng.uniform(size=(BATCH, SIZE, SIZE, 3)).astype("float32"), rng.integers(10, size=BATCH))
        for _ in range(STEPS)
    ]


def draws_of(labels, number):
    """What the product's sampled estimator of the logits form draws in a step."""
    is_label = np.arange(10)[None] == labels[:, None]
    log_probability = np.where(is_label, -np.inf, 0.0).astype("float32")
    drawn = keras.random.categorical(log_probability, 1, seed=StepSeeds(SEED, number))
    return torch.as_tensor(np.asarray(drawn)[:, 0].astype("int64"))


def weights_of(model):
    return {
        f"{layer.name}/{weight.name}": np.array(weight.numpy())
        for layer in model.layers
        for weight in layer.weights
    }


def assign(model, state):
    trained = state.parameters | state.statistics
    for layer in model.layers:
        for weight in layer.weights:
            value = trained[f"{layer.name}/{weight.name}"].detach()
            weight.assign(value.permute(2, 3, 1, 0) if value.ndim == 4 else value)


def product_model(network, method):
    """The product's, compiled with the optimizer that `keras_lodin.train` has."""
    model, loss, trained = new_model(network), "cross_entropy", None
    for part in method.split(" + "):
        if part.startswith("gq"):
            _, form, estimator, weight = part.split()
            trained = GQModel(model, float(weight), form, estimator, seed=SEED)
        elif part.startswith("gradient_penalty"):
            trained = GradientPenaltyModel(model, float(part.split()[1]))
        elif part != "off":
            loss = part
    trained = trained or model
    trained.compile(
        keras.optimizers.SGD(RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY / (1.0 - MOMENTUM)),
        losses.build(loss, True),
        metrics=["accuracy"],
    )
    return trained, model


def product_steps(network, method, batches):
    trained, model = product_model(network, method)
    weight = Method.of(method).weight
    found = []
    for x, y in batches:
        logs = trained.train_on_batch(x, y, return_dict=True)
        trained.reset_metrics()
        # Keras logs the loss with what is added to it.
        added = logs.get("gq", logs.get("gradient_penalty", np.nan))
        plain = logs["loss"] - weight * added if weight else logs["loss"]
        found.append(((plain, logs["accuracy"], added), weights_of(model)))
    return found


def stepped(state, program, method, x, y, draws):
    return training.train_step(
        *(state, program, Numbers.of(method), torch.tensor(x).permute(0, 3, 1, 2)),
        *(torch.tensor(y), draws, torch.tensor(RATE)),
    )


def assert_steps_are_the_product_s(network, name, arithmetic, batches):
    model, method = new_model(network), Method.of(name)
    program = Program(network, method.kind, arithmetic)
    state = training.start(model)
    before = weights_of(model)
    for number, (logs, weights) in enumerate(product_steps(network, name, batches)):
        x, y = batches[number]
        own = stepped(state, program, method, x, y, draws_of(y, number))
        np.testing.assert_allclose(own, logs, rtol=1e-4)
        assign(model, state)
        for weight, value in weights_of(model).items():
            # Against what the steps changed, which is what counts, not how large a weight is.
            moved = np.abs(value - before[weight]).max()
            np.testing.assert_allclose(
                value, weights[weight], rtol=1e-6, atol=2e-3 * moved + 1e-6, err_msg=weight
            )


@pytest.mark.parametrize(
    ("network", "method"), [(network, method) for network in CASES for method in CASES[network]]
)
def test_steps_end_as_the_product_s(network, method, batches):
    assert_steps_are_the_product_s(network, method, WHOLE, batches)


@pytest.mark.parametrize(
    "arithmetic",
    [Arithmetic(torch.float32, torch.float64, PLAIN), WHOLE._replace(channels=8)],
    ids=["products in another dtype", "channels filled up"],
)
def test_steps_end_alike_however_convolutions_are_computed(arithmetic, batches):
    assert_steps_are_the_product_s("resnet20", "gq logits sampled 1", arithmetic, batches)


def test_methods_are_told_apart(batches):
    """Steps that are all alike would agree with anything."""
    network, ends = "wide_resnet_10_1", []
    for name in CASES[network]:
        method, state = Method.of(name), training.start(new_model(network))
        for number, (x, y) in enumerate(batches):
            program = Program(network, method.kind, WHOLE)
            stepped(state, program, method, x, y, draws_of(y, number))
        ends.append(torch.cat([value.detach().ravel() for value in state.parameters.values()]))
    for place, one in enumerate(ends):
        assert all(float((one - other).abs().max()) > 1e-4 for other in ends[:place])


@pytest.mark.parametrize("network", ["wide_resnet_10_1", "resnet20", "resnet18_width4"])
def test_scores_are_those_of_the_product_s_detectors(network, batches, rng):
    model = new_model(network)
    state = training.start(model)
    # Statistics and weights that do not stand at their beginning.
    for number, (x, y) in enumerate(batches):
        program = Program(network, "plain", WHOLE)
        stepped(state, program, Method.of("off"), x, y, draws_of(y, number))
    assign(model, state)
    images = rng.integers(0, 256, (10, SIZE, SIZE, 3), dtype=np.uint8)
    classes, found = scores.scores_of(network, state, torch.from_numpy(images), batch=4)
    x = images.astype("float32") / 255.0
    np.testing.assert_array_equal(classes, model.predict(x, verbose=0).argmax(-1))
    watching = [detectors.DETECTORS[name](model, input_range=(0.0, 1.0)) for name in DETECTORS]
    passes = shared_passes(watching, torch.from_numpy(x))
    for name, detector, one, row in zip(DETECTORS, watching, passes, found, strict=False):
        expected = keras.ops.convert_to_numpy(detector.score(one))
        np.testing.assert_allclose(row, expected, rtol=1e-4, err_msg=name)
    largest = found[0].astype("float64")
    np.testing.assert_allclose(found[-1], np.log(largest / (1.0 - largest)), rtol=1e-3, atol=1e-4)


def test_the_rate_rises_over_a_tenth_of_the_steps_and_falls_to_nothing():
    rates = [training.scheduled(0.1, step, 100) for step in (0, 9, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0.1 / 11, 1.0 / 11, 0.1, 0.05, 0.0], atol=1e-12)


def test_images_are_cropped_from_within_their_border_and_mirrored(rng):
    images = training.padded(rng.integers(0, 256, (3, 6, 6, 3), dtype=np.uint8))
    places = np.array([[0, 8], [4, 4], [3, 1]])
    rows, flips = np.array([2, 0, 1]), np.array([False, True, False])
    found = training.augmented(*map(torch.from_numpy, (images, rows, places, flips)))
    for own, row, (down, right), is_flipped in zip(found, rows, places, flips, strict=True):
        expected = images[row, down : down + 6, right : right + 6] / 255.0
        expected = expected[:, ::-1] if is_flipped else expected
        np.testing.assert_allclose(own.permute(1, 2, 0), expected, rtol=1e-6)


def test_an_epoch_sees_every_image_once_and_no_label_is_drawn_as_another_class(rng):
    labels = rng.integers(10, size=24)
    epoch = training.epoch_of(labels, 8, seed=1, number=2)
    assert sorted(epoch.rows.ravel()) == list(range(24))
    assert np.all(epoch.draws != labels[epoch.rows])
    assert epoch.places.min() >= 0
    assert epoch.places.max() <= 2 * PADDING
    again = training.epoch_of(labels, 8, seed=1, number=2)
    assert all(np.array_equal(one, other) for one, other in zip(epoch, again, strict=True))
