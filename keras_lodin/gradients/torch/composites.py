"""PyTorch's functions whose own higher derivatives are missing or wrong, in other words.

PyTorch differentiates what it computes in one piece by formulas of its own, and of some of them it
has no second derivative, or a third one that is wrong and says nothing. Composed of smaller pieces
they are differentiated as often as one likes. `tests/core/test_second_derivatives.py` looks at all
of Keras's layers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from keras_lodin.utils.tensor import Tensor

_LOCK = threading.RLock()


@contextlib.contextmanager
def differentiable_functions() -> Iterator[None]:
    """Within it, PyTorch's functions are such that all derivatives of their results are right."""
    # Of the kernels of an attention, the one that is composed.
    with _LOCK, sdpa_kernel(SDPBackend.MATH):
        functional = torch.nn.functional
        before = {name: getattr(functional, name) for name in _COMPOSED}
        vars(functional).update(_COMPOSED)
        try:
            yield
        finally:
            vars(functional).update(before)


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Of which PyTorch has no second derivative."""
    return torch.clamp(input + 3.0, 0.0, 6.0) / 6.0


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Of which PyTorch's third derivative, by which a directional one is trained, is wrong."""
    axes = tuple(range(-len(normalized_shape), 0))
    # As PyTorch, in at least single precision.
    values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
    variance, mean = torch.var_mean(values, axes, correction=0, keepdim=True)
    normalized = ((values - mean) * torch.rsqrt(variance + eps)).to(input.dtype)
    if weight is not None:
        normalized = normalized * weight
    return normalized if bias is None else normalized + bias


_COMPOSED: dict[str, Callable[..., Tensor]] = {
    "hardsigmoid": _hardsigmoid,
    "layer_norm": _layer_norm,
}
