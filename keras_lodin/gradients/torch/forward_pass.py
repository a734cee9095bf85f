"""Input gradients on the PyTorch backend."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from keras import ops

from keras_lodin.gradients.no_gradient import no_gradient
from keras_lodin.gradients.recorded_pass import RecordedPass
from keras_lodin.gradients.torch.composites import differentiable_functions
from keras_lodin.utils.keras_internals import batch_statistics_through
from keras_lodin.utils.tensor import Tensor


class ForwardPass(RecordedPass):
    """See `keras_lodin.gradients.tensorflow.forward_pass.ForwardPass`.

    Under `torch.no_grad()`, as within Keras's `predict`, the derivatives are values alone.
    """

    def _record(self, inputs: Tensor, function: Callable[[Tensor], Sequence[Tensor]]) -> None:
        inputs = ops.convert_to_tensor(inputs)
        if not inputs.is_floating_point():
            inputs = ops.cast(inputs, "float32")
        # Keras predicts without gradients, and these are part of the prediction.
        self._differentiable = torch.is_grad_enabled()
        self._gate = _Gate()
        with (
            torch.enable_grad(),
            differentiable_functions(),
            batch_statistics_through(self._gate),
        ):
            if not inputs.requires_grad:
                inputs = inputs.detach().requires_grad_()
            self._outputs = [ops.cast(logits, "float32") for logits in function(inputs)]
        self.inputs = inputs
        self._function = function

    def input_gradient(self, cotangent: Tensor) -> Tensor:
        """The vector-Jacobian product `sum_j cotangent[b, j] * d logits[b, j] / d inputs[b]`."""
        return self._pull(cotangent)

    def input_gradients(self, cotangents: Tensor) -> Tensor:
        """Several vector-Jacobian products at once: `(count, *inputs.shape)`."""
        return self._pull(cotangents, is_grads_batched=True)

    def _pull(self, cotangents: Tensor, **options: Any) -> Tensor:
        self._refuse_names()
        create_graph = options.pop("create_graph", self._differentiable)
        gradient = None
        if self.logits.requires_grad:
            (gradient,) = torch.autograd.grad(
                self.logits,
                self.inputs,
                cotangents,
                retain_graph=True,
                create_graph=create_graph,
                allow_unused=True,
                **options,
            )
        if gradient is None:
            raise no_gradient(self.inputs)
        return gradient.float()

    def directional_derivative(self, direction: Tensor) -> Tensor:
        """The Jacobian-vector product of all logits along a direction: `(batch, classes)`.

        The transpose of the input gradient, which is linear in its cotangent u: d <g(u), v> / du.
        Batch statistics count as constant.
        """
        self._refuse_names()
        with torch.enable_grad(), self._gate.closed():
            cotangent = torch.zeros_like(self.logits, requires_grad=True)
            gradient = self._pull(cotangent, create_graph=True)
            (derivative,) = torch.autograd.grad(
                gradient,
                cotangent,
                direction.to(gradient.dtype),
                create_graph=self._differentiable,
            )
        return derivative


class _Gate:
    """What gradients pass through, or do not while it is closed; values always do."""

    def __init__(self) -> None:
        self.is_open = True

    def __call__(self, tensor: Tensor) -> Tensor:
        return _Gated.apply(tensor, self)

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        self.is_open = False
        try:
            yield
        finally:
            self.is_open = True


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor, gate: _Gate) -> Tensor:
        context.gate = gate
        return tensor.view_as(tensor)

    @staticmethod
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return (upstream if context.gate.is_open else torch.zeros_like(upstream)), None
