"""The scores of four detectors, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scale import networks, quotient
from scale.layers import StillLayers
from scale.training import State

TEMPERATURE, EPSILON = 1000.0, 0.0014


def scores_of(network: str, state: State, images: Any, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Predicted classes and scores, of a trained network in inference mode.

    Args:
        network: its name.
        state: its weights.
        images: uint8 of shape `(count, height, width, 3)`.
        batch: images at a time.

    Returns:
        int64 `(count,)`, the predicted classes, and float32 `(5, count)`: MSP, maximum logit,
        energy and ODIN, higher = more in-distribution, and `log(MSP / (1 - MSP))`, which tells
        samples apart where MSP is rounded to 1.
    """
    weights = {k: v.detach() for k, v in (state.parameters | state.statistics).items()}
    layers, logits_of = StillLayers(weights), networks.logits_of(network)
    classes, found = [], []
    for first in range(0, len(images), batch):
        x = images[first : first + batch].permute(0, 3, 1, 2).float() / 255.0
        own, rows = _scores(lambda x: logits_of(layers, x), x)
        classes.append(own)
        found.append(rows)
    return torch.cat(classes).cpu().numpy(), torch.cat(found, 1).cpu().numpy()


def _scores(logits_of: Any, x: Any) -> tuple[Any, Any]:
    x = x.requires_grad_()
    logits = logits_of(x)
    largest, classes = logits.max(-1)
    winner = quotient.one_hot(classes, logits.shape[-1])
    others = torch.where(winner > 0, -torch.inf, logits).detach()
    direction = winner - (others / TEMPERATURE).softmax(-1)
    (gradient,) = torch.autograd.grad(logits, x, direction)
    with torch.no_grad():
        moved = logits_of(x + EPSILON * gradient.sign())
        below = (moved - moved.amax(-1, keepdim=True)) / TEMPERATURE
        rows = [
            logits.softmax(-1).amax(-1),
            largest,
            logits.logsumexp(-1),
            -torch.log1p(torch.expm1(below).mean(-1)),
            largest - others.logsumexp(-1),
        ]
        return classes, torch.stack(rows)
