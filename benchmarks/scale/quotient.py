"""What a method adds to the loss: the Gradient Quotient or the gradient penalty, as in keras_lodin.

The formulas are those of `keras_lodin/quotient/forms.py` and `estimators.py`, and
`tests/core/test_full_scale_steps.py` compares them. Every input gradient is taken so that it can be
differentiated once more.
"""

from __future__ import annotations

from typing import Any

import torch

from scale import methods

# Below any logit relative to the largest, and still a number.
_FAR_BELOW = -1e30


def added_term(kind: str, logits: Any, x: Any, labels: Any, draws: Any, pooled: Any) -> Any:
    """The batch's mean of what is added to the loss, before its weight.

    Args:
        kind: one of `methods`' kinds but `plain`.
        logits: float32 of shape `(batch, classes)`.
        x: what the logits are of, float32 of shape `(batch, 3, height, width)`.
        labels: int64 of shape `(batch,)`.
        draws: for each sample a class other than its label, int64 of shape `(batch,)`.
        pooled: for kind `two`, 1 for the pooled quotient and 0 for the sampled one of the logits.

    Returns:
        a float32 scalar.
    """
    classes = logits.shape[-1]
    label = one_hot(labels, classes)

    def gradient_at(cotangent: Any) -> Any:
        return torch.autograd.grad(logits, x, cotangent, create_graph=True)[0]

    if kind == methods.PENALTY:
        gradient = gradient_at(logits.softmax(-1) - label)
        return gradient.square().sum((1, 2, 3)).mean()
    if kind == methods.TWO:
        others = torch.where(pooled > 0, 1.0 - label, one_hot(draws, classes))
        own, other = _norm(gradient_at(label)), _norm(gradient_at(others))
        sampled = _quotient(own, other * (classes - 1)).mean()
        return torch.where(pooled > 0, _quotient(own.sum(), other.sum()), sampled)
    if kind == methods.LOGITS:
        everyone = torch.eye(classes, device=x.device)
        norms = [_norm(gradient_at(one.expand_as(logits))) for one in everyone]
        return _mean_quotient(torch.stack(norms), label.T > 0)
    if kind == methods.SOFTMAX:
        return _mean_quotient(*_softmax_norms(gradient_at, logits, labels))
    raise ValueError(f"Expected a kind that adds something. Received: kind={kind!r}")


def one_hot(labels: Any, classes: int) -> Any:
    """float32 of shape `(..., classes)`."""
    return (labels[..., None] == torch.arange(classes, device=labels.device)).float()


def _softmax_norms(gradient_at: Any, logits: Any, labels: Any) -> tuple[Any, Any]:
    """Norms of the softmax's gradients over `1 - S_m`, and which are the label's.

    Both are of shape `(classes, batch)`, in an order of their own.

    The predicted class m needs no gradient of its own: it is minus the sum of the others'.
    """
    classes = logits.shape[-1]
    predicted = logits.argmax(-1)
    winner = one_hot(predicted, classes)
    relative = logits - logits.amax(-1, keepdim=True)
    others = torch.where(winner > 0, _FAR_BELOW, relative)
    log_sum = others.logsumexp(-1)
    rest = log_sum.sigmoid()
    shares = torch.where(winner > 0, 0.0, (others - log_sum[:, None]).exp())
    slots = torch.arange(classes - 1, device=logits.device)[:, None]
    chosen = slots + (slots >= predicted[None])
    cotangents = one_hot(chosen, classes) - winner - rest[:, None] * (shares - winner)
    weights = shares.T.gather(0, chosen)
    own, norms = 0.0, []
    for cotangent, weight in zip(cotangents, weights, strict=True):
        gradient = gradient_at(cotangent)
        own = own + weight[:, None, None, None] * gradient
        norms.append(weight * _norm(gradient))
    is_label = torch.cat([chosen, predicted[None]]) == labels[None]
    return torch.stack([*norms, _norm(own)]), is_label


def _norm(gradient: Any) -> Any:
    """L1 norms: `(batch, ...)` to `(batch,)`."""
    return gradient.abs().sum((1, 2, 3))


def _mean_quotient(norms: Any, is_label: Any) -> Any:
    """Mean over the batch, from norms of shape `(classes, batch)`."""
    own = torch.where(is_label, norms, 0.0).sum(0)
    return _quotient(own, torch.where(is_label, 0.0, norms).sum(0)).mean()


def _quotient(own: Any, other: Any) -> Any:
    """`own / other`, 0 where both are 0; both over their sum first, as in keras_lodin."""
    total = (own + other).detach()
    scale = torch.where(total > 0, total, 1.0)
    own, other = own / scale, other / scale
    is_defined = other > 0
    return torch.where(is_defined, own / torch.where(is_defined, other, 1.0), 0.0)
