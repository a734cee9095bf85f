"""The layers of a residual network in PyTorch, to be differentiated twice on processors.

PyTorch writes the second derivative of its normalisation as dozens of sums and products over the
whole batch. Here each derivative is one function, which a compiler makes one pass over memory of
and one for its means. The derivative of a gradient with respect to a kernel is again a gradient
with respect to a kernel, of other arguments, for which there is a fast routine.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

_MOMENTUM, _EPSILON = 0.9, 1e-5
_aten = torch.ops.aten


class Kernels(NamedTuple):
    """What computes the normalisation and its derivatives: the functions of these names."""

    normalised: Callable[..., Any]
    pulled: Callable[..., Any]
    pulled_twice: Callable[..., Any]


class Layers:
    """Applies layers by name.

    Args:
        parameters: `LAYER/WEIGHT` to float32 tensors; kernels of convolutions are of shape
            `(filters, channels, size, size)`.
        dtype: of what convolutions read and leave.
        product_dtype: what they are computed in.
        kernels: of the normalisation.

    Attributes:
        moments: name of each normalisation that was applied -> the batch's mean and variance.
        is_of_inputs: whether the gradients that are being taken are of the inputs alone: none of
            a kernel is computed then.
    """

    def __init__(
        self, parameters: dict[str, Any], dtype: Any, product_dtype: Any, kernels: Kernels
    ) -> None:
        self.parameters = parameters
        self.dtype = dtype
        self.product_dtype = product_dtype
        self.kernels = kernels
        self.moments: dict[str, tuple[Any, Any]] = {}
        self.is_of_inputs = False

    def convolution(self, x: Any, strides: int, name: str) -> Any:
        """A convolution without an offset, padded on both sides alike."""
        kernel = self.parameters[f"{name}/kernel"].to(self.dtype)
        return _Convolution.apply(x.to(self.dtype), kernel, strides, self)

    def norm_relu(self, x: Any, name: str, shortcut: Any = None) -> Any:
        """The rectified sum of a normalisation by the batch's statistics and a shortcut."""
        gamma, beta = self.parameters[f"{name}/gamma"], self.parameters[f"{name}/beta"]
        out, mean, variance = _NormRelu.apply(x, gamma, beta, shortcut, self.kernels)
        self.moments[name] = mean, variance
        return out

    def factors(self, *values: Any) -> tuple[Any, ...]:
        """Values of `dtype` in the dtype of the products, which loses nothing."""
        return tuple(value.to(self.product_dtype) for value in values)

    def dense(self, x: Any, name: str) -> Any:
        """A product with a matrix, in float32."""
        return x @ self.parameters[f"{name}/kernel"] + self.parameters[f"{name}/bias"]

    def moved(self, statistics: dict[str, Any]) -> dict[str, Any]:
        """Moving statistics after the batch."""
        return {
            f"{name}/{key}": _MOMENTUM * statistics[f"{name}/{key}"] + (1.0 - _MOMENTUM) * value
            for name, moments in self.moments.items()
            for key, value in zip(("moving_mean", "moving_variance"), moments, strict=True)
        }


@functools.lru_cache
def quickest_product_dtype(dtype: Any) -> Any:
    """What this processor convolves values of a dtype in with the least time: it, or float32.

    Processors without instructions for bfloat16 matrices (AMX) take twice as long for it as for
    float32. Its products are summed in float32 either way, and the sum is rounded to the dtype.
    """
    x = torch.zeros(32, 16, 32, 32, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.zeros(16, 16, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)

    def seconds(product_dtype: Any) -> float:
        found = []
        for _ in range(7):
            began = time.perf_counter()
            _convolved(x.to(product_dtype), kernel.to(product_dtype), 1).to(dtype)
            found.append(time.perf_counter() - began)
        return min(found)

    return min((dtype, torch.float32), key=seconds)


@functools.lru_cache
def compiled_kernels() -> Kernels | None:
    """Kernels that a C++ compiler made, or None where there is none that works."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        return None
    # One program for each shape, with a shortcut and without.
    torch._dynamo.config.recompile_limit = 32
    kernels = Kernels(*(torch.compile(function, dynamic=False) for function in PLAIN))
    x = torch.zeros(1, 16, 2, 2)
    try:
        kernels.normalised(x, torch.ones(16), torch.zeros(16), None)
    except torch._dynamo.exc.TorchDynamoException:
        return None
    return kernels


def normalised(x: Any, gamma: Any, beta: Any, shortcut: Any) -> tuple[Any, Any, Any]:
    """The output, and the batch's mean and variance, which the output depends on."""
    wide = x.float()
    mean = _mean(wide)
    variance = _mean(wide * wide) - mean * mean
    scale = gamma * torch.rsqrt(variance + _EPSILON)
    out = wide * _along(scale) + _along(beta - mean * scale)
    if shortcut is not None:
        out = out + shortcut.float()
    return torch.relu(out).to(x.dtype), mean, variance


def pulled(
    cotangent: Any, x: Any, out: Any, gamma: Any, mean: Any, variance: Any
) -> tuple[Any, Any, Any, Any]:
    """The gradients of `<cotangent, out>`: of x, of the shortcut, of gamma and of beta."""
    root = torch.rsqrt(variance + _EPSILON)
    unit = (x.float() - _along(mean)) * _along(root)
    through = torch.where(out > 0, cotangent.float(), 0.0)
    first, second = _mean(through), _mean(through * unit)
    of_x = _along(gamma * root) * (through - _along(first) - unit * _along(second))
    count = x.numel() // x.shape[1]
    return of_x.to(x.dtype), through.to(x.dtype), count * second, count * first


def pulled_twice(
    of_x: Any,
    of_shortcut: Any,
    cotangent: Any,
    x: Any,
    out: Any,
    gamma: Any,
    mean: Any,
    variance: Any,
) -> tuple[Any, Any, Any]:
    """The gradients of `<of_x, gradient of x> + <of_shortcut, gradient of the shortcut>`.

    The two gradients are those that `pulled` gives; `of_shortcut` may be None for zeros. With u =
    `of_x`, t the cotangent where the output is positive, z = `unit`, r = `root` and m a mean over
    the batch, the first summand is, for each channel,

        count * gamma * r * (m(u t) - m(u) m(t) - m(u z) m(t z))

    of which the derivatives are taken here: x moves z, and r as well.

    Returns:
        the gradients with respect to the cotangent, to x and to gamma.
    """
    root = torch.rsqrt(variance + _EPSILON)
    unit = (x.float() - _along(mean)) * _along(root)
    is_on = out > 0
    through = torch.where(is_on, cotangent.float(), 0.0)
    along = of_x.float()
    means = _mean(along), _mean(through), _mean(along * unit), _mean(through * unit)
    along_mean, through_mean, along_unit, through_unit = means
    left = _mean(along * through) - along_mean * through_mean - along_unit * through_unit
    centred = along - _along(along_mean)
    of_cotangent = _along(gamma * root) * (centred - unit * _along(along_unit))
    if of_shortcut is not None:
        of_cotangent = of_cotangent + of_shortcut.float()
    of_wide = -_along(gamma * root * root) * (
        centred * _along(through_unit)
        + (through - _along(through_mean)) * _along(along_unit)
        + unit * _along(left - 2.0 * along_unit * through_unit)
    )
    count = x.numel() // x.shape[1]
    return (
        torch.where(is_on, of_cotangent, 0.0).to(x.dtype),
        of_wide.to(x.dtype),
        count * root * left,
    )


PLAIN = Kernels(normalised, pulled, pulled_twice)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, kernel: Any, strides: int, layers: Layers) -> Any:
        x, factor = layers.factors(x, kernel)
        # The kernel as it came: a derivative of the input gradient goes on from there.
        ctx.save_for_backward(x, kernel)
        ctx.strides, ctx.layers = strides, layers
        return _convolved(x, factor, strides).to(layers.dtype)

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> tuple[Any, ...]:
        x, kernel = ctx.saved_tensors
        layers = ctx.layers
        of_x = of_kernel = None
        if ctx.needs_input_grad[0]:
            of_x = _ConvolutionGradient.apply(cotangent, x, kernel, ctx.strides, layers)
        if not layers.is_of_inputs:
            (wide,) = layers.factors(cotangent)
            of_kernel = _kernel_gradient(wide, x, kernel, ctx.strides).to(layers.dtype)
        return of_x, of_kernel, None, None


class _ConvolutionGradient(torch.autograd.Function):
    """A convolution's gradient with respect to its input, of which it takes the shape alone."""

    @staticmethod
    def forward(ctx: Any, cotangent: Any, x: Any, kernel: Any, strides: int, layers: Layers) -> Any:
        cotangent, kernel = layers.factors(cotangent, kernel)
        ctx.save_for_backward(cotangent, kernel)
        ctx.strides, ctx.layers = strides, layers
        return _gradients(cotangent, x, kernel, strides, [True, False, False])[0].to(layers.dtype)

    @staticmethod
    def backward(ctx: Any, of_x: Any) -> tuple[Any, ...]:
        cotangent, kernel = ctx.saved_tensors
        layers = ctx.layers
        (of_x,) = layers.factors(of_x)
        of_kernel = _kernel_gradient(cotangent, of_x, kernel, ctx.strides).to(layers.dtype)
        of_cotangent = _convolved(of_x, kernel, ctx.strides).to(layers.dtype)
        return of_cotangent, None, of_kernel, None, None


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Any, gamma: Any, beta: Any, shortcut: Any, kernels: Kernels
    ) -> tuple[Any, Any, Any]:
        out, mean, variance = kernels.normalised(x, gamma, beta, shortcut)
        ctx.save_for_backward(x, out, gamma, mean, variance)
        ctx.kernels, ctx.has_shortcut = kernels, shortcut is not None
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, cotangent: Any, *_: Any) -> tuple[Any, ...]:
        found = _NormReluGradient.apply(_dense(cotangent), *ctx.saved_tensors, ctx.kernels)
        of_x, of_shortcut, of_gamma, of_beta = found
        return of_x, of_gamma, of_beta, of_shortcut if ctx.has_shortcut else None, None


class _NormReluGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cotangent: Any,
        x: Any,
        out: Any,
        gamma: Any,
        mean: Any,
        variance: Any,
        kernels: Any,
    ) -> tuple[Any, Any, Any, Any]:
        ctx.save_for_backward(cotangent, x, out, gamma, mean, variance)
        ctx.kernels = kernels
        of_x, of_shortcut, of_gamma, of_beta = kernels.pulled(
            cotangent, x, out, gamma, mean, variance
        )
        # A loss of input gradients alone does not see them.
        ctx.mark_non_differentiable(of_gamma, of_beta)
        ctx.set_materialize_grads(False)
        return of_x, of_shortcut, of_gamma, of_beta

    @staticmethod
    def backward(ctx: Any, of_x: Any, of_shortcut: Any, *_: Any) -> tuple[Any, ...]:
        if of_shortcut is not None:
            of_shortcut = _dense(of_shortcut)
        found = ctx.kernels.pulled_twice(_dense(of_x), of_shortcut, *ctx.saved_tensors)
        of_cotangent, of_wide, of_gamma = found
        # The output counts by its sign alone; mean and variance are functions of x, and are in its.
        return of_cotangent, of_wide, None, of_gamma, None, None, None


def _convolved(x: Any, kernel: Any, strides: int) -> Any:
    return torch.nn.functional.conv2d(x, kernel, None, strides, kernel.shape[-1] // 2)


def _kernel_gradient(cotangent: Any, x: Any, kernel: Any, strides: int) -> Any:
    return _gradients(cotangent, x, kernel, strides, [False, True, False])[1]


def _gradients(cotangent: Any, x: Any, kernel: Any, strides: int, wanted: list[bool]) -> Any:
    sides = [kernel.shape[-1] // 2] * 2
    return _aten.convolution_backward(
        *(cotangent, x, kernel, None, [strides] * 2, sides, [1, 1], False, [0, 0], 1, wanted)
    )


def _dense(values: Any) -> Any:
    """With the channels last in memory, as all arguments of a kernel are.

    The compiler's program is wrong for a cotangent in bfloat16 with its channels first (PyTorch
    2.13).
    """
    return values.contiguous(memory_format=torch.channels_last)


def _mean(values: Any) -> Any:
    """Over all but the channels; image by image first, which is quicker."""
    return values.mean((2, 3)).mean(0)


def _along(channels: Any) -> Any:
    return channels[:, None, None]
