"""What a method adds to the loss: the Gradient Quotient or the gradient penalty, as in keras_lodin.

The formulas are those of `keras_lodin/quotient/forms.py` and `estimators.py`, and
`tests/reference/test_full_scale_against_gqmodel.py` compares them. Here `jax.vjp` gives the input
gradients, and the caller differentiates them once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from scale import methods

# Below any logit relative to the largest, and still a number.
_FAR_BELOW = -1e30


def added_term(
    kind: str, pull: Callable[..., Any], logits: Any, labels: Any, draws: Any, pooled: Any
) -> Any:
    """The batch's mean of what is added to the loss, before its weight.

    Args:
        kind: one of `methods`' kinds but `plain`.
        pull: cotangents of the logits, `(batch, classes)`, to gradients of the inputs.
        logits: float32 of shape `(batch, classes)`.
        labels: int32 of shape `(batch,)`.
        draws: for each sample a class other than its label, int32 of shape `(batch,)`.
        pooled: for kind `two`, 1 for the pooled quotient and 0 for the sampled one of the logits.

    Returns:
        a float32 scalar.
    """
    classes = logits.shape[-1]
    label = jax.nn.one_hot(labels, classes)

    def gradients_at(cotangents: Any) -> Any:
        return jax.vmap(lambda c: pull(c)[0].astype(jnp.float32))(cotangents)

    if kind == methods.PENALTY:
        gradient = gradients_at((jax.nn.softmax(logits) - label)[None])[0]
        return jnp.mean(jnp.sum(jnp.square(gradient), (1, 2, 3)))
    if kind == methods.TWO:
        others = jnp.where(pooled > 0, 1.0 - label, jax.nn.one_hot(draws, classes))
        own, other = _norms(gradients_at(jnp.stack([label, others])))
        sampled = jnp.mean(_quotient(own, other * (classes - 1)))
        return jnp.where(pooled > 0, _quotient(jnp.sum(own), jnp.sum(other)), sampled)
    if kind == methods.LOGITS:
        everyone = jnp.broadcast_to(jnp.eye(classes)[:, None], (classes, *logits.shape))
        return _mean_quotient(_norms(gradients_at(everyone)), label.T > 0)
    if kind == methods.SOFTMAX:
        return _mean_quotient(*_softmax_norms(gradients_at, logits, labels))
    raise ValueError(f"Expected a kind that adds something. Received: kind={kind!r}")


def draw_others(key: Any, labels: Any, classes: int) -> Any:
    """For each sample a class other than its label, all alike likely."""
    draws = jax.random.randint(key, labels.shape, 0, classes - 1)
    return draws + (draws >= labels)


def _softmax_norms(gradients_at: Callable[..., Any], logits: Any, labels: Any) -> tuple[Any, Any]:
    """Norms of the softmax's gradients over `1 - S_m`, and which are the label's.

    Both are of shape `(classes, batch)`, in an order of their own.

    The predicted class m needs no gradient of its own: it is minus the sum of the others'.
    """
    classes = logits.shape[-1]
    predicted = jnp.argmax(logits, -1)
    winner = jax.nn.one_hot(predicted, classes)
    relative = logits - jnp.max(logits, -1, keepdims=True)
    others = jnp.where(winner > 0, _FAR_BELOW, relative)
    log_sum = jax.nn.logsumexp(others, -1)
    rest = jax.nn.sigmoid(log_sum)
    shares = jnp.where(winner > 0, 0.0, jnp.exp(others - log_sum[:, None]))
    slots = jnp.arange(classes - 1)[:, None]
    chosen = slots + (slots >= predicted[None])
    cotangents = jax.nn.one_hot(chosen, classes) - winner
    cotangents -= rest[:, None] * (shares - winner)
    gradients = gradients_at(cotangents)
    weights = jnp.take_along_axis(shares.T, chosen, 0)
    own = jnp.sum(weights[..., None, None, None] * gradients, 0)
    norms = jnp.concatenate([weights * _norms(gradients), _norms(own[None])])
    return norms, jnp.concatenate([chosen, predicted[None]]) == labels[None]


def _norms(gradients: Any) -> Any:
    """L1 norms: `(count, batch, ...)` to `(count, batch)`."""
    return jnp.sum(jnp.abs(gradients), tuple(range(2, gradients.ndim)))


def _mean_quotient(norms: Any, is_label: Any) -> Any:
    """Mean over the batch, from norms of shape `(classes, batch)`."""
    own = jnp.sum(jnp.where(is_label, norms, 0.0), 0)
    return jnp.mean(_quotient(own, jnp.sum(jnp.where(is_label, 0.0, norms), 0)))


def _quotient(own: Any, other: Any) -> Any:
    """`own / other`, 0 where both are 0; both over their sum first, as in keras_lodin."""
    total = jax.lax.stop_gradient(own + other)
    scale = jnp.where(total > 0, total, 1.0)
    own, other = own / scale, other / scale
    defined = other > 0
    return jnp.where(defined, own / jnp.where(defined, other, 1.0), 0.0)
