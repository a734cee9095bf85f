"""The PyTorch loop of `benchmarks/full_scale.py nights` against the product, step for step."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

if os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("the loop is PyTorch's", allow_module_level=True)

import keras
import torch
from PIL import Image

from keras_lodin import GQModel, losses, models
from keras_lodin.training.step_seeds import StepSeeds

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from scale import data, nights, torch_layers, torch_training
from scale.methods import Method
from scale.plan import MOMENTUM, WEIGHT_DECAY, Cell, Recipe
from scale.results import Results

STEPS, BATCH, SIZE, SEED, RATE = 2, 8, 16, 7, 0.05
METHODS = ["off", "logit_norm:0.04", "gq logits sampled 1", "gq pooled exact 0.5"]


def resnet20():
    keras.utils.set_random_seed(3)
    return models.ResNet20(input_shape=(SIZE, SIZE, 3))


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


def product_steps(method, batches):
    model = resnet20()
    weight = Method.of(method).weight
    loss = "cross_entropy" if weight or method == "off" else method
    trained = GQModel(model, weight, *method.split()[1:3], seed=SEED) if weight else model
    trained.compile(
        keras.optimizers.SGD(RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY / (1.0 - MOMENTUM)),
        losses.build(loss, True),
        metrics=["accuracy"],
    )
    found = []
    for x, y in batches:
        logs = trained.train_on_batch(x, y, return_dict=True)
        trained.reset_metrics()
        # Keras logs the loss with what is added to it.
        added = logs.get("gq", np.nan)
        plain = logs["loss"] - weight * added if weight else logs["loss"]
        found.append(((plain, logs["accuracy"], added), weights_of(model)))
    return found


@pytest.mark.parametrize(
    ("method", "product_dtype"),
    [*((method, torch.float32) for method in METHODS), ("gq logits sampled 1", torch.float64)],
)
def test_steps_end_as_the_product_s(method, product_dtype, batches):
    model = resnet20()
    program = torch_training.Program(
        Method.of(method), torch.float32, product_dtype, torch_layers.PLAIN
    )
    state = torch_training.start(model)
    for number, (logs, weights) in enumerate(product_steps(method, batches)):
        x, y = batches[number]
        own = torch_training.train_step(
            *(state, program, torch.tensor(x).permute(0, 3, 1, 2)),
            *(torch.tensor(y), draws_of(y, number), RATE),
        )
        np.testing.assert_allclose(own, logs, rtol=1e-4)
        torch_training.assign(model, state)
        for name, value in weights_of(model).items():
            np.testing.assert_allclose(value, weights[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_method_that_the_loop_lacks_is_refused():
    with pytest.raises(ValueError, match=r"Received: method='gradient_penalty 0\.1'"):
        torch_training.Program(
            Method.of("gradient_penalty 0.1"), torch.float32, torch.float32, torch_layers.PLAIN
        )


def test_the_rate_rises_over_a_tenth_of_the_steps_and_falls_to_nothing():
    rates = [torch_training.scheduled(0.1, step, 100) for step in (0, 9, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0.1 / 11, 1.0 / 11, 0.1, 0.05, 0.0], atol=1e-12)


def test_images_are_cropped_from_within_their_border_and_mirrored(rng):
    images = torch_training.padded(rng.integers(0, 256, (3, 6, 6, 3), dtype=np.uint8))
    places = np.array([[0, 8], [4, 4], [3, 1]])
    rows, flips = np.array([2, 0, 1]), np.array([False, True, False])
    found = torch_training._augmented(images, rows, places, flips)
    for own, row, (down, right), is_flipped in zip(found, rows, places, flips, strict=True):
        expected = images[row, down : down + 6, right : right + 6]
        np.testing.assert_array_equal(own, expected[:, ::-1] if is_flipped else expected)


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(torch_layers, "compiled_kernels", lambda: None)
    images = rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    labels = rng.integers(10, size=8)
    cell, recipe = Cell("resnet20", "gq logits sampled 1", 0), Recipe(2, batch=4)

    def trained(folder):
        return nights.train(cell, recipe, images, labels, tmp_path / folder)

    model, curve, _ = trained("whole")
    epoch, calls = torch_training.train_epoch, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            # Half of the epoch is done and lost.
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(torch_training, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained("stopped")
    again, curve_again, _ = trained("stopped")
    assert len(calls) == 3
    assert curve_again == curve
    assert len({row["added"] for row in curve}) == 2
    expected = weights_of(model)
    for name, value in weights_of(again).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    with pytest.raises(SystemExit, match="begun otherwise"):
        nights.train(cell, Recipe(3, batch=4), images, labels, tmp_path / "stopped")


@pytest.mark.slow
# PyTorch's compiler warns of itself.
@pytest.mark.filterwarnings("ignore")
def test_compiled_steps_are_those_that_are_not(rng):
    """In the shapes and the dtype of the nights: a compiler's mistake has no other witness."""
    kernels = torch_layers.compiled_kernels()
    if kernels is None:
        pytest.skip("needs a C++ compiler")
    x = torch.tensor(rng.uniform(size=(32, 32, 32, 3)).astype("float32")).permute(0, 3, 1, 2)
    labels = torch.tensor(rng.integers(10, size=32))
    ends = []
    for own in (torch_layers.PLAIN, kernels):
        program = torch_training.Program(
            *(Method.of("gq logits sampled 1"), torch.bfloat16, torch.float32, own)
        )
        state = torch_training.start(torch_training.new_model(0))
        logs = torch_training.train_step(state, program, x, labels, (labels + 1) % 10, RATE)
        ends.append((logs, state.velocities))
    (logs, velocities), (compiled, others) = ends
    np.testing.assert_allclose(compiled, logs, rtol=1e-2)
    # Rounding to bfloat16 falls otherwise and is multiplied on its way down; a wrong program gives
    # zeros or NaN.
    for name, value in velocities.items():
        assert float((value - others[name]).norm()) <= 0.5 * float(value.norm()) + 1e-6, name


@pytest.mark.slow
def test_cells_run_side_by_side_and_go_on_where_a_budget_ended(tmp_path, rng):
    path, jpegs = tmp_path / "data.npz", {}
    for name in data.SETS:
        encoded = []
        for pixels in rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG")
            encoded.append(buffer.getvalue())
        jpegs[f"{name}/bytes"] = np.frombuffer(b"".join(encoded), "uint8")
        jpegs[f"{name}/ends"] = np.cumsum([len(one) for one in encoded])
        jpegs[f"{name}/labels"] = rng.integers(10, size=8).astype("int32")
    np.savez(path, **jpegs)
    cells = [Cell("resnet20", method, 0) for method in ("off", "gq logits sampled 1")]

    def run(budget):
        return nights.run(
            *(path, tmp_path / "work", tmp_path / "output", budget, cells),
            *(Recipe(1, batch=4), None, 2),
        )

    assert run(0.0) == 0
    assert run(600.0) == 2
    assert run(600.0) == 0
    found = Results(tmp_path / "output")
    assert found.done() == set(cells)
    assert not list((tmp_path / "work").iterdir())
    assert {row["dtype"] for row in found.figures} == {"bfloat16"}
    assert all(float(row["seconds"]) > 0.0 for row in found.figures)
