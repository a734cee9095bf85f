"""ODIN's two formulas as pure functions of logits (Liang, Li & Srikant 2018, eq. 1 and 2)."""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from keras_lodin.utils.tensor import Tensor

# The paper's settings, for a network and data that nothing else is known of.
DEFAULT_TEMPERATURE = 1000.0
DEFAULT_EPSILON = 0.0014


def tempered_score(logits: Tensor, temperature: Tensor) -> Tensor:
    """`log(classes * max_i softmax(f / T)_i)`, in a form that float32 resolves at any T.

    At T = 1000 all exponents are close to 0 and the softmax close to uniform; `expm1` and `log1p`
    keep the digits that a plain softmax rounds away. At T = 1 the mean of `expm1` is close to -1
    for a confident sample, and `1 + mean` would have none left of a thousand classes; the logarithm
    of the sum itself has them there.

    Args:
        logits: float32 tensor of shape `(batch, classes)`.
        temperature: T, positive.

    Returns:
        float32 tensor of shape `(batch,)`, from 0 (uniform) to `log(classes)`.
    """
    below = (logits - ops.max(logits, axis=-1, keepdims=True)) / temperature
    mean = ops.mean(ops.expm1(below), axis=-1)
    confident = math.log(logits.shape[-1]) - ops.log(ops.sum(ops.exp(below), axis=-1))
    # A mean that is not a number is not below: its score is none either, in every format.
    return ops.where(mean < -0.5, confident, -ops.log1p(mean))


def winning_cotangent(logits: Tensor, temperature: Tensor) -> Tensor:
    """Cotangent at the logits whose input gradient points along d log S_yhat(x; T) / dx.

    The derivative of `log S_yhat` by the logits is `(onehot(yhat) - softmax(f / T)) / T`, which
    rounds to zero for a confident sample. Divided by `(1 - S_yhat) / T` it is
    `onehot(yhat) - r`, with r the softmax over the OTHER classes: the same direction, of ordinary
    size for every sample.

    Args:
        logits: float32 tensor of shape `(batch, classes)`.
        temperature: T, positive.

    Returns:
        float32 tensor of shape `(batch, classes)`.
    """
    winner = ops.one_hot(ops.argmax(logits, axis=-1), logits.shape[-1], dtype="float32")
    others = ops.softmax(ops.where(winner > 0.0, -np.inf, logits / temperature), axis=-1)
    return winner - others
