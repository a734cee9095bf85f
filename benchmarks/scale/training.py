"""A training in PyTorch, step by step, on a processor or a GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from scale import methods, networks, quotient
from scale.layers import Arithmetic, Layers
from scale.methods import Method
from scale.networks import CLASSES
from scale.plan import MOMENTUM, PADDING, WEIGHT_DECAY

_TINY = 1e-14  # as in keras_lodin.losses.LogitNorm


class Numbers(NamedTuple):
    """The numbers of a method, as float32 tensors: methods of one kind share a program."""

    smoothing: Any
    norm_temperature: Any
    weight: Any
    pooled: Any

    @classmethod
    def of(cls, method: Method) -> Numbers:
        """A method's numbers."""
        values = (method.smoothing, method.norm_temperature, method.weight, method.pooled)
        return cls(*(torch.tensor(float(value)) for value in values))


@dataclass
class State:
    """Everything that a step changes, by the names `LAYER/WEIGHT`."""

    parameters: dict[str, Any]
    statistics: dict[str, Any]
    velocities: dict[str, Any]


@dataclass(frozen=True)
class Program:
    """What a step computes, and how."""

    network: str
    kind: str
    arithmetic: Arithmetic


class Epoch(NamedTuple):
    """What the steps of an epoch see, a row for each: images, crops, flips, draws.

    Attributes:
        rows: int64 of shape `(steps, batch)`, which images.
        places: int64 of shape `(steps, batch, 2)`, where in the padded image a crop begins.
        flips: of shape `(steps, batch)`, whether it is mirrored.
        draws: int64 of shape `(steps, batch)`, for each sample a class other than its label.
    """

    rows: np.ndarray
    places: np.ndarray
    flips: np.ndarray
    draws: np.ndarray


def start(model: Any) -> State:
    """The state before the first step, with the weights of one of the product's networks."""
    parameters, statistics = {}, {}
    for name, weight in _weights(model):
        value = torch.tensor(_array(weight))
        if value.ndim == 4:
            # Keras has the size first and the filters last.
            value = value.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        (statistics if "moving_" in name else parameters)[name] = value
    velocities = {name: torch.zeros_like(value) for name, value in parameters.items()}
    return State(parameters, statistics, velocities)


def train_step(
    state: State, program: Program, numbers: Numbers, x: Any, labels: Any, draws: Any, rate: Any
) -> Any:
    """A step of Keras's SGD, its weight decay as `keras_lodin.train` sets it.

    Args:
        state: it is changed.
        program: what is computed.
        numbers: of the method.
        x: float32 of shape `(batch, 3, height, width)`.
        labels: int64 of shape `(batch,)`.
        draws: for each sample a class other than its label, int64 of shape `(batch,)`.
        rate: the learning rate, a float32 scalar.

    Returns:
        the compiled loss, the accuracy and the term before its weight, as Keras logs them: float32
        of shape `(3,)`.
    """
    parameters = {name: value.requires_grad_() for name, value in state.parameters.items()}
    layers = Layers(parameters, program.arithmetic)
    x = x.requires_grad_(program.kind != methods.PLAIN)
    logits = networks.logits_of(program.network)(layers, x)
    value = total = cross_entropy(logits, labels, numbers)
    added = torch.full_like(value, math.nan)
    if program.kind != methods.PLAIN:
        layers.is_of_inputs = True
        added = quotient.added_term(program.kind, logits, x, labels, draws, numbers.pooled)
        layers.is_of_inputs = False
        total = value + numbers.weight * added
    gradients = torch.autograd.grad(total, list(parameters.values()))
    with torch.no_grad():
        own, velocities = list(parameters.values()), list(state.velocities.values())
        torch._foreach_mul_(velocities, MOMENTUM)
        torch._foreach_sub_(velocities, torch._foreach_mul(gradients, rate))
        torch._foreach_mul_(own, 1.0 - rate * (WEIGHT_DECAY / (1.0 - MOMENTUM)))
        torch._foreach_add_(own, velocities)
        layers.move(state.statistics)
        accuracy = (logits.argmax(-1) == labels).float().mean()
        return torch.stack([value, accuracy, added])


def cross_entropy(logits: Any, labels: Any, numbers: Numbers) -> Any:
    """Mean over the batch, of smoothed labels and of logits of fixed length where asked for."""
    classes = logits.shape[-1]
    length = (logits.square().sum(-1, keepdim=True) + _TINY).sqrt()
    is_on = numbers.norm_temperature > 0
    fixed = logits / (length * torch.where(is_on, numbers.norm_temperature, 1.0))
    target = quotient.one_hot(labels, classes)
    target = (1.0 - numbers.smoothing) * target + numbers.smoothing / classes
    logits = torch.where(is_on, fixed, logits)
    return -(target * logits.log_softmax(-1)).sum(-1).mean()


def epoch_of(labels: np.ndarray, batch: int, seed: int, number: int) -> Epoch:
    """What an epoch sees: by seed and number alone, so every method of a seed sees the same.

    Args:
        labels: integers of shape `(count,)`.
        batch: images of a step.
        seed: the cell's.
        number: of the epoch, from 0.
    """
    count = len(labels) // batch
    rng = np.random.default_rng([seed, number])
    shape = (count, batch)
    rows = rng.permutation(len(labels))[: count * batch].reshape(shape)
    places = rng.integers(0, 2 * PADDING + 1, (*shape, 2))
    flips = rng.random(shape) < 0.5
    draws = rng.integers(0, CLASSES - 1, shape)
    return Epoch(rows, places, flips, draws + (draws >= labels[rows]))


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


def augmented(images: Any, rows: Any, places: Any, flips: Any) -> Any:
    """Crops of the images' own size, half of them mirrored, as a network takes them.

    Args:
        images: uint8 of shape `(count, height, width, 3)`, `padded`.
        rows: int64 of shape `(batch,)`.
        places: int64 of shape `(batch, 2)`.
        flips: bool of shape `(batch,)`.

    Returns:
        float32 of shape `(batch, 3, height, width)`, values from 0 to 1.
    """
    size = images.shape[1] - 2 * PADDING
    pixels = torch.arange(size, device=images.device)
    down = places[:, 0, None] + pixels
    right = places[:, 1, None] + torch.where(flips[:, None], size - 1 - pixels, pixels)
    found = images[rows[:, None, None], down[:, :, None], right[:, None, :]]
    return found.permute(0, 3, 1, 2).float() / 255.0


def _weights(model: Any) -> list[tuple[str, Any]]:
    return [
        (f"{layer.name}/{weight.name}", weight)
        for layer in model.layers
        for weight in layer.weights
    ]


def _array(weight: Any) -> np.ndarray:
    value = weight.value
    return np.array(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
