"""ResNet-20 and its training in PyTorch, on one processor: what `training.py` is for a GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from keras_lodin import losses, models
from keras_lodin.quotient import forms
from scale import methods
from scale.methods import Method
from scale.plan import MOMENTUM, PADDING, WEIGHT_DECAY, Recipe
from scale.torch_layers import Kernels, Layers

CLASSES = 10


@dataclass
class State:
    """Everything that a step changes, by the names `LAYER/WEIGHT`; `step` counts those done."""

    parameters: dict[str, Any]
    statistics: dict[str, Any]
    velocities: dict[str, Any]
    step: int = 0


@dataclass(frozen=True)
class Program:
    """How a method is computed.

    Attributes:
        method: of kind `plain` or `two`.
        dtype: of what convolutions read and leave.
        product_dtype: what they are computed in.
        kernels: of the normalisation.
    """

    method: Method
    dtype: Any
    product_dtype: Any
    kernels: Kernels

    def __post_init__(self) -> None:
        if self.method.kind not in (methods.PLAIN, methods.TWO):
            raise ValueError(
                "Expected a method without a second derivative, or the pooled quotient, or the "
                f"sampled one of the logits. Received: method={self.method.name!r}"
            )


def start(model: Any) -> State:
    """The state before the first step, with the weights of a `keras_lodin.models.ResNet20`."""
    parameters, statistics = {}, {}
    for name, weight in _weights(model):
        value = torch.tensor(np.asarray(weight.numpy()))
        if value.ndim == 4:
            # Keras has the size first and the filters last.
            value = value.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        (statistics if "moving_" in name else parameters)[name] = value
    velocities = {name: torch.zeros_like(value) for name, value in parameters.items()}
    return State(parameters, statistics, velocities)


def assign(model: Any, state: State) -> None:
    """Gives a `keras_lodin.models.ResNet20` a state's weights."""
    trained = state.parameters | state.statistics
    for name, weight in _weights(model):
        value = trained[name]
        weight.assign(value.permute(2, 3, 1, 0) if value.ndim == 4 else value)


def logits(layers: Layers, x: Any) -> Any:
    """ResNet-20's float32 logits, in training."""
    x = _convolution_norm(layers, x, 1, "stem")
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage > 0 and block == 0 else 1
            shortcut = x
            if strides != 1:
                # Every second pixel, with zeros for the channels that are new.
                missing = filters - x.shape[1]
                sides = (0, 0, 0, 0, missing // 2, missing - missing // 2)
                shortcut = torch.nn.functional.pad(x[:, :, ::strides, ::strides], sides)
                shortcut = shortcut.contiguous(memory_format=torch.channels_last)
            name = f"stage{stage + 1}_block{block + 1}"
            y = _convolution_norm(layers, x, strides, f"{name}_1")
            x = _convolution_norm(layers, y, 1, f"{name}_2", shortcut)
    return layers.dense(x.float().mean((2, 3)), "logits")


def train_step(
    state: State, program: Program, x: Any, labels: Any, draws: Any, rate: float
) -> tuple[float, float, float]:
    """A step of Keras's SGD, its weight decay as `keras_lodin.train` sets it.

    Args:
        state: it is changed.
        program: how the method is computed.
        x: float32 of shape `(batch, 3, height, width)`.
        labels: int64 of shape `(batch,)`.
        draws: for each sample a class other than its label, int64 of shape `(batch,)`.
        rate: the learning rate.

    Returns:
        the compiled loss, the accuracy and the term before its weight, as Keras logs them.
    """
    method = program.method
    parameters = {name: value.requires_grad_() for name, value in state.parameters.items()}
    layers = Layers(parameters, program.dtype, program.product_dtype, program.kernels)
    x = x.requires_grad_(method.kind == methods.TWO)
    found = logits(layers, x)
    value = total = losses.build(_loss_name(method), True)(labels, found)
    added = torch.tensor(math.nan)
    if method.kind == methods.TWO:
        layers.is_of_inputs = True
        added = _added_term(found, x, labels, draws, method.pooled)
        layers.is_of_inputs = False
        total = value + method.weight * added
    gradients = torch.autograd.grad(total, list(parameters.values()))
    kept = 1.0 - rate * WEIGHT_DECAY / (1.0 - MOMENTUM)
    with torch.no_grad():
        for name, gradient in zip(parameters, gradients, strict=True):
            velocity = state.velocities[name].mul_(MOMENTUM).sub_(gradient, alpha=rate)
            parameters[name].mul_(kept).add_(velocity)
        state.statistics.update(layers.moved(state.statistics))
        accuracy = (found.argmax(-1) == labels).float().mean()
    state.step += 1
    return float(value.detach()), float(accuracy), float(added.detach())


def train_epoch(
    state: State,
    program: Program,
    images: np.ndarray,
    labels: np.ndarray,
    seed: int,
    number: int,
    recipe: Recipe,
) -> np.ndarray:
    """One pass over the data, and the means of what `train_step` returns.

    Args:
        state: it is changed.
        program: how the method is computed.
        images: uint8 of shape `(count, height, width, 3)`, `padded`.
        labels: integers of shape `(count,)`.
        seed: with the epoch's number it gives order, crops, flips and draws, so that every method
            of a seed sees the same images.
        number: of the epoch, from 0.
        recipe: the cell's.
    """
    count = len(labels) // recipe.batch
    rng = np.random.default_rng([seed, number])
    shape = (count, recipe.batch)
    rows = rng.permutation(len(labels))[: count * recipe.batch].reshape(shape)
    places = rng.integers(0, 2 * PADDING + 1, (*shape, 2))
    flips = rng.random(shape) < 0.5
    draws = rng.integers(0, CLASSES - 1, shape)
    logs = []
    for own, place, is_flipped, draw in zip(rows, places, flips, draws, strict=True):
        pixels = torch.from_numpy(_augmented(images, own, place, is_flipped))
        y = labels[own].astype("int64")
        logs.append(
            train_step(
                state,
                program,
                pixels.permute(0, 3, 1, 2).float() / 255.0,
                torch.from_numpy(y),
                torch.from_numpy(draw + (draw >= y)),
                scheduled(recipe.learning_rate, state.step, recipe.epochs * count),
            )
        )
    return np.mean(logs, axis=0)


def scheduled(rate: float, step: int, steps: int) -> float:
    """The learning rate of a step: a line up to `rate` over a tenth of all, then a cosine to 0."""
    warm = 0.1 * steps
    if step < warm:
        return rate * (step + 1.0) / (warm + 1.0)
    return rate * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / (steps - warm)))


def padded(images: np.ndarray) -> np.ndarray:
    """Images with the black border that crops may reach into."""
    sides = (PADDING, PADDING)
    return np.pad(images, [(0, 0), sides, sides, (0, 0)])


def new_model(seed: int) -> Any:
    """The product's ResNet-20, with the initial weights of a seed."""
    import keras

    keras.utils.set_random_seed(seed)
    return models.ResNet20(num_classes=CLASSES)


def _added_term(found: Any, x: Any, labels: Any, draws: Any, pooled: bool) -> Any:
    """The batch's mean of the quotient, with the package's own division."""
    label = torch.nn.functional.one_hot(labels, CLASSES).float()
    others = 1.0 - label if pooled else torch.nn.functional.one_hot(draws, CLASSES).float()
    own, other = (
        torch.autograd.grad(found, x, direction, create_graph=True)[0].abs().sum((1, 2, 3))
        for direction in (label, others)
    )
    if pooled:
        return forms.quotient(own.sum(), other.sum())
    return forms.quotient(own, other * (CLASSES - 1)).mean()


def _loss_name(method: Method) -> str:
    """The method's loss as `keras_lodin.losses` names it."""
    if method.smoothing:
        return f"label_smoothing:{method.smoothing}"
    return f"logit_norm:{method.norm_temperature}" if method.norm_temperature else "cross_entropy"


def _convolution_norm(layers: Layers, x: Any, strides: int, name: str, shortcut: Any = None) -> Any:
    x = layers.convolution(x, strides, f"{name}_conv")
    return layers.norm_relu(x, f"{name}_norm", shortcut)


def _weights(model: Any) -> list[tuple[str, Any]]:
    return [
        (f"{layer.name}/{weight.name}", weight)
        for layer in model.layers
        for weight in layer.weights
    ]


def _augmented(
    images: np.ndarray, rows: np.ndarray, places: np.ndarray, flips: np.ndarray
) -> np.ndarray:
    """Crops of the images' own size, half of them mirrored."""
    size = images.shape[1] - 2 * PADDING
    pixels = np.arange(size)
    down = places[:, 0, None] + pixels
    right = places[:, 1, None] + np.where(flips[:, None], size - 1 - pixels, pixels)
    return images[rows[:, None, None], down[:, :, None], right[:, None, :]]
