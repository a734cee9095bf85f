"""The scores of four detectors, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from scale.networks import Network

TEMPERATURE, EPSILON = 1000.0, 0.0014


def scores_of(network: Network, batch: int) -> Callable[..., Any]:
    """`scores(parameters, statistics, images) -> classes, scores`, in inference mode.

    Args:
        network: with float32 convolutions.
        batch: images at a time.

    Returns:
        a function of uint8 images, a multiple of `batch` many. It gives int32 `(count,)`, the
        predicted classes, and float32 `(5, count)`: MSP, maximum logit, energy and ODIN, higher =
        more in-distribution, and `log(MSP / (1 - MSP))`, which tells samples apart where MSP is
        rounded to 1.
    """

    def of_batch(parameters: Any, statistics: Any, images: Any) -> Any:
        x = images.astype(jnp.float32) / 255.0
        logits, pull = jax.vjp(
            lambda x: network.logits(parameters, statistics, x, training=False)[0], x
        )
        classes = jnp.argmax(logits, -1)
        winner = jax.nn.one_hot(classes, logits.shape[-1])
        others = jnp.where(winner > 0, -jnp.inf, logits)
        direction = jnp.sign(pull(winner - jax.nn.softmax(others / TEMPERATURE))[0])
        moved = network.logits(parameters, statistics, x + EPSILON * direction, training=False)[0]
        below = (moved - jnp.max(moved, -1, keepdims=True)) / TEMPERATURE
        largest = jnp.max(logits, -1)
        found = [
            jnp.max(jax.nn.softmax(logits), -1),
            largest,
            jax.nn.logsumexp(logits, -1),
            -jnp.log1p(jnp.mean(jnp.expm1(below), -1)),
            largest - jax.nn.logsumexp(others, -1),
        ]
        return classes, jnp.stack(found, -1)

    def scores(parameters: Any, statistics: Any, images: Any) -> Any:
        batches = images.reshape(-1, batch, *images.shape[1:])
        # The device may round factors of a float32 product to fewer digits unless told not to, and
        # signs of small gradients would follow that rounding.
        with jax.default_matmul_precision("highest"):
            classes, found = jax.lax.map(lambda b: of_batch(parameters, statistics, b), batches)
        return classes.reshape(-1), found.reshape(-1, found.shape[-1]).T

    return scores
