"""Whether a function's values have no upper end, told from the operation that makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from keras_lodin.utils.tensor import Tensor

_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "convolution", "mkldnn_convolution")
_SUMS = ("add", "add_")
_ACTIVATIONS = (
    *("relu", "leaky_relu", "elu", "softplus", "exp", "pow", "square", "abs"),
    # SELU, which PyTorch has as an ELU times a number.
    "selu",
)
# Those that keep values, or only place them.
_KEEPING = (
    *("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "t", "transpose", "permute"),
    *("expand", "clone", "detach", "alias", "_to_copy", "contiguous"),
)


class _Operations(TorchDispatchMode):
    """Takes down what makes each tensor."""

    def __init__(self) -> None:
        super().__init__()
        # The tensors too: an identity is given again once its tensor has gone.
        self._made_by: dict[int, tuple[str, tuple[Any, ...], object]] = {}

    def __torch_dispatch__(
        self,
        function: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            self._made_by[id(tensor)] = (function.overloadpacket.__name__, args, tensor)
        return made

    def maker(self, tensor: object) -> tuple[str | None, tuple[Any, ...]]:
        """The name of the operation that made a tensor's values, and its arguments."""
        name, arguments, _ = self._made_by.get(id(tensor), (None, (), None))
        return self.maker(arguments[0]) if name in _KEEPING else (name, arguments)


def is_unbounded(function: Callable[[Tensor], Tensor], inputs: Tensor) -> bool:
    """See `keras_lodin.gradients.tensorflow.is_unbounded.is_unbounded`."""
    with torch.no_grad(), _Operations() as operations:
        outputs = function(inputs)
    name, arguments = operations.maker(outputs)
    if name in _SUMS:
        return any(operations.maker(argument)[0] in _PRODUCTS for argument in arguments)
    return name in (*_PRODUCTS, *_ACTIVATIONS)
