"""Training on the device: one program trains an epoch, augmentation and order included."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from scale import methods, quotient
from scale.methods import Method
from scale.networks import Network
from scale.plan import MOMENTUM, PADDING, WEIGHT_DECAY

CLASSES = 10
_TINY = 1e-14  # as in keras_lodin.losses.LogitNorm


class Numbers(NamedTuple):
    """The numbers of a method: arguments of its program, so that methods share programs."""

    smoothing: Any
    norm_temperature: Any
    weight: Any
    pooled: Any

    @classmethod
    def of(cls, method: Method) -> Numbers:
        """A method's numbers, as float32."""
        values = (method.smoothing, method.norm_temperature, method.weight, method.pooled)
        return cls(*(jnp.float32(value) for value in values))


class State(NamedTuple):
    """Everything that a step changes. `step` counts the steps done, in float32."""

    parameters: Any
    statistics: Any
    velocities: Any
    step: Any


def start(network: Network, seed: Any) -> State:
    """The state before the first step: the same for every method."""
    parameters, statistics = network.initialise(jax.random.key(seed))
    velocities = jax.tree.map(jnp.zeros_like, parameters)
    return State(parameters, statistics, velocities, jnp.zeros((), jnp.float32))


def padded(images: Any) -> Any:
    """Images with the black border that crops may reach into."""
    sides = (PADDING, PADDING)
    return jnp.pad(images, [(0, 0), sides, sides, (0, 0)])


def loss_of(network: Network, kind: str) -> Callable[..., Any]:
    """`loss(parameters, statistics, x, labels, draws, numbers) -> total, (statistics, logs)`.

    The logs are the compiled loss, the accuracy and the term before its weight, as Keras logs them.
    """

    def loss(
        parameters: Any, statistics: Any, x: Any, labels: Any, draws: Any, numbers: Numbers
    ) -> Any:
        run = functools.partial(network.logits, parameters, statistics, training=True)
        if kind == methods.PLAIN:
            logits, after = run(x)
            added = jnp.float32(math.nan)
        else:
            logits, pull, after = jax.vjp(run, x, has_aux=True)
            added = quotient.added_term(kind, pull, logits, labels, draws, numbers.pooled)
        value = cross_entropy(logits, labels, numbers)
        total = value if kind == methods.PLAIN else value + numbers.weight * added
        accuracy = jnp.mean(jnp.argmax(logits, -1) == labels)
        return total, (after, jnp.stack([value, accuracy, added]))

    return loss


def cross_entropy(logits: Any, labels: Any, numbers: Numbers) -> Any:
    """Mean over the batch, of smoothed labels and of logits of fixed length where asked for."""
    classes = logits.shape[-1]
    length = jnp.sqrt(jnp.sum(jnp.square(logits), -1, keepdims=True) + _TINY)
    is_on = numbers.norm_temperature > 0
    fixed = logits / (length * jnp.where(is_on, numbers.norm_temperature, 1.0))
    target = jax.nn.one_hot(labels, classes)
    target = (1.0 - numbers.smoothing) * target + numbers.smoothing / classes
    logits = jnp.where(is_on, fixed, logits)
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), -1))


def scheduled(rate: Any, step: Any, steps: Any) -> Any:
    """The learning rate of a step: a line up to `rate` over a tenth of all, then a cosine to 0."""
    warm = 0.1 * steps
    cosine = 0.5 * (1.0 + jnp.cos(math.pi * (step - warm) / (steps - warm)))
    return rate * jnp.where(step < warm, (step + 1.0) / (warm + 1.0), cosine)


def updated(state: State, gradients: Any, statistics: Any, rate: Any) -> State:
    """The state after a step of Keras's SGD, its weight decay as `keras_lodin.train` sets it."""
    kept = 1.0 - rate * WEIGHT_DECAY / (1.0 - MOMENTUM)
    velocities = jax.tree.map(lambda v, g: MOMENTUM * v - rate * g, state.velocities, gradients)
    parameters = jax.tree.map(lambda p, v: p * kept + v, state.parameters, velocities)
    return State(parameters, statistics, velocities, state.step + 1.0)


def epoch_of(network: Network, kind: str, batch: int) -> Callable[..., Any]:
    """`epoch(state, numbers, images, labels, seed, number, rate, steps) -> state, logs`.

    One pass over the data. `images` are `padded`; `number` is the epoch's, `rate` the
    largest learning rate, `steps` how many the whole training has; see `scheduled`. Order, crops
    and flips follow from seed and number alone: every method of a seed sees the same images.
    """
    loss = loss_of(network, kind)

    def epoch(
        state: State,
        numbers: Numbers,
        images: Any,
        labels: Any,
        seed: Any,
        number: Any,
        rate: Any,
        steps: Any,
    ) -> tuple[State, Any]:
        count = len(labels) // batch
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), seed), number)
        order_key, place_key, flip_key, draw_key = jax.random.split(key, 4)
        shape = (count, batch)
        rows = jax.random.permutation(order_key, len(labels))[: count * batch].reshape(shape)
        places = jax.random.randint(place_key, (*shape, 2), 0, 2 * PADDING + 1)
        flips = jax.random.bernoulli(flip_key, 0.5, shape)

        def step(state: State, item: Any) -> tuple[State, Any]:
            rows, places, flips, key = item
            x, y = _augmented(images, rows, places, flips), labels[rows]
            draws = quotient.draw_others(key, y, CLASSES)
            (_, (statistics, logs)), gradients = jax.value_and_grad(loss, has_aux=True)(
                state.parameters, state.statistics, x, y, draws, numbers
            )
            return updated(state, gradients, statistics, scheduled(rate, state.step, steps)), logs

        keys = jax.random.split(draw_key, count)
        state, logs = jax.lax.scan(step, state, (rows, places, flips, keys))
        return state, jnp.mean(logs, 0)

    return epoch


def _augmented(images: Any, rows: Any, places: Any, flips: Any) -> Any:
    """Crops of 32 pixels, half of them mirrored: values from 0 to 1."""
    size = images.shape[1] - 2 * PADDING
    pixels = jnp.arange(size)
    down = places[:, 0, None] + pixels
    right = places[:, 1, None] + jnp.where(flips[:, None], size - 1 - pixels, pixels)
    found = images[rows[:, None, None], down[:, :, None], right[:, None, :]]
    return found.astype(jnp.float32) / 255.0
