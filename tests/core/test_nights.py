"""The PyTorch loop of `benchmarks/full_scale.py nights` against the product, step for step."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

if os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("the loop is PyTorch's", allow_module_level=True)

import keras  # noqa: E402
import torch  # noqa: E402

from keras_lodin import GQModel, losses, models  # noqa: E402
from keras_lodin.training.step_seeds import StepSeeds  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from scale import nights, torch_layers, torch_training  # noqa: E402
from scale.methods import Method  # noqa: E402
from scale.plan import MOMENTUM, WEIGHT_DECAY, Cell, Recipe  # noqa: E402

STEPS, BATCH, SIZE, SEED, RATE = 2, 8, 16, 7, 0.05
METHODS = ["off", "logit_norm:0.04", "gq logits sampled 1"]


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
    trained = GQModel(model, weight, "logits", "sampled", seed=SEED) if weight else model
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


@pytest.mark.parametrize("method", METHODS)
def test_steps_end_as_the_product_s(method, batches):
    model = resnet20()
    program = torch_training.Program(Method.of(method), torch.float32, torch_layers.PLAIN)
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
