"""The layers of a residual network in PyTorch, to be differentiated twice.

PyTorch writes the second derivative of its normalisation as dozens of sums and products over the
whole batch. Here each derivative is one function, which a compiler makes one pass over memory of
and one for its means. The derivative of a gradient with respect to a kernel is again a gradient
with respect to a kernel, of other arguments, for which there is a fast routine.
"""

from __future__ import annotations

import functools
import time
import types
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


class Arithmetic(NamedTuple):
    """How layers are computed in training.

    Attributes:
        dtype: of what convolutions read and leave.
        product_dtype: what they are computed in.
        kernels: of the normalisation.
        channels: what the number of channels that a convolution reads is filled up to a multiple
            of, with zeros: a GPU has no fast program for three.
    """

    dtype: Any
    product_dtype: Any
    kernels: Kernels
    channels: int = 1


class Layers:
    """Applies layers by name, in training.

    Args:
        parameters: `LAYER/WEIGHT` to float32 tensors; kernels of convolutions are of shape
            `(filters, channels, size, size)`.
        arithmetic: how they are computed.

    Attributes:
        moments: name of each normalisation that was applied -> the batch's mean and variance.
        is_of_inputs: whether the gradients that are being taken are of the inputs alone: none of
            a kernel is computed then.
    """

    def __init__(self, parameters: dict[str, Any], arithmetic: Arithmetic) -> None:
        self.parameters = parameters
        self.arithmetic = arithmetic
        self.moments: dict[str, tuple[Any, Any]] = {}
        self.is_of_inputs = False

    def convolution(self, x: Any, strides: int, name: str) -> Any:
        """A convolution without an offset, padded on both sides alike."""
        dtype, multiple = self.arithmetic.dtype, self.arithmetic.channels
        kernel = self.parameters[f"{name}/kernel"].to(dtype)
        if missing := -x.shape[1] % multiple:
            sides = (0, 0, 0, 0, 0, missing)
            x, kernel = (
                torch.nn.functional.pad(value, sides).contiguous(memory_format=torch.channels_last)
                for value in (x, kernel)
            )
        return _Convolution.apply(x.to(dtype), kernel, strides, self)

    def norm(self, x: Any, name: str) -> Any:
        """A normalisation by the batch's statistics."""
        return self._norm(x, name, None, False)

    def norm_relu(self, x: Any, name: str, shortcut: Any = None) -> Any:
        """The rectified sum of a normalisation by the batch's statistics and a shortcut."""
        return self._norm(x, name, shortcut, True)

    def factors(self, *values: Any) -> tuple[Any, ...]:
        """Values of the dtype in the dtype of the products, which loses nothing."""
        return tuple(value.to(self.arithmetic.product_dtype) for value in values)

    def dense(self, x: Any, name: str) -> Any:
        """A product with a matrix, in float32."""
        return x @ self.parameters[f"{name}/kernel"] + self.parameters[f"{name}/bias"]

    def move(self, statistics: dict[str, Any]) -> None:
        """Changes moving statistics to those after the batch."""
        for name, moments in self.moments.items():
            for key, value in zip(("moving_mean", "moving_variance"), moments, strict=True):
                statistics[f"{name}/{key}"].mul_(_MOMENTUM).add_(value, alpha=1.0 - _MOMENTUM)

    def _norm(self, x: Any, name: str, shortcut: Any, is_rectified: bool) -> Any:
        gamma, beta = self.parameters[f"{name}/gamma"], self.parameters[f"{name}/beta"]
        kernels = self.arithmetic.kernels
        out, mean, variance = _Norm.apply(x, gamma, beta, shortcut, is_rectified, kernels)
        self.moments[name] = mean, variance
        return out


class StillLayers:
    """Applies the same layers as a classifier in use does, in float32, to be differentiated once.

    Args:
        weights: `LAYER/WEIGHT` to float32 tensors, moving statistics among them.
    """

    def __init__(self, weights: dict[str, Any]) -> None:
        self.weights = weights

    def convolution(self, x: Any, strides: int, name: str) -> Any:
        """A convolution without an offset, padded on both sides alike."""
        return _convolved(x, self.weights[f"{name}/kernel"], strides)

    def norm(self, x: Any, name: str) -> Any:
        """A normalisation by the moving statistics."""
        gamma, beta, mean, variance = (
            self.weights[f"{name}/{key}"]
            for key in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma * torch.rsqrt(variance + _EPSILON)
        return x * _along(scale) + _along(beta - mean * scale)

    def norm_relu(self, x: Any, name: str, shortcut: Any = None) -> Any:
        """The rectified sum of a normalisation and a shortcut."""
        out = self.norm(x, name)
        return torch.relu(out if shortcut is None else out + shortcut)

    def dense(self, x: Any, name: str) -> Any:
        """A product with a matrix."""
        return x @ self.weights[f"{name}/kernel"] + self.weights[f"{name}/bias"]


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
def compiled_kernels(device: str) -> Kernels | None:
    """Kernels that a compiler made for a device, or None where there is none that works.

    Args:
        device: "cpu" or "cuda".
    """
    kernels = Kernels(*map(_Compiled, PLAIN))
    x = torch.zeros(1, 16, 2, 2, device=device).contiguous(memory_format=torch.channels_last)
    channels = torch.ones(16, device=device)
    try:
        kernels.normalised(x, channels, channels, None, True)
    except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
        print(f"no compiler that works, so a step takes longer: {str(error)[:300]}", flush=True)
        return None
    return kernels


class _Compiled:
    """A function of which a compiler makes a program for each shape and dtype that it is given.

    Each is made of a copy: of one function a compiler makes eight and then stops, silently, and a
    limit that is set otherwise is set for one thread only, where a GPU's gradients have their own.
    """

    def __init__(self, function: Any) -> None:
        self._function = function
        self._made: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *values: Any) -> Any:
        key = tuple(
            (value.shape, value.dtype) if isinstance(value, torch.Tensor) else value
            for value in values
        )
        if key not in self._made:
            own = self._function
            code = own.__code__.replace(co_name=f"{own.__name__}_{len(self._made)}")
            copied = types.FunctionType(code, own.__globals__)
            self._made[key] = torch.compile(copied, dynamic=False, fullgraph=True)
        return self._made[key](*values)


def normalised(
    x: Any, gamma: Any, beta: Any, shortcut: Any, is_rectified: bool
) -> tuple[Any, Any, Any]:
    """The output, and the batch's mean and variance, which the output depends on."""
    wide = x.float()
    mean = _mean(wide)
    variance = _mean(wide * wide) - mean * mean
    scale = gamma * torch.rsqrt(variance + _EPSILON)
    out = wide * _along(scale) + _along(beta - mean * scale)
    if shortcut is not None:
        out = out + shortcut.float()
    if is_rectified:
        out = torch.relu(out)
    return out.to(x.dtype), mean, variance


def pulled(
    cotangent: Any,
    x: Any,
    out: Any,
    gamma: Any,
    mean: Any,
    variance: Any,
    is_rectified: bool,
    has_shortcut: bool,
) -> tuple[Any, Any, Any, Any]:
    """The gradients of `<cotangent, out>`: of x, of the shortcut, of gamma and of beta."""
    root = torch.rsqrt(variance + _EPSILON)
    unit = (x.float() - _along(mean)) * _along(root)
    through = cotangent.float()
    if is_rectified:
        through = torch.where(out > 0, through, 0.0)
    of_shortcut = through.to(x.dtype) if has_shortcut else None
    first, second = _mean(through), _mean(through * unit)
    of_x = _along(gamma * root) * (through - _along(first) - unit * _along(second))
    count = x.numel() // x.shape[1]
    return of_x.to(x.dtype), of_shortcut, count * second, count * first


def pulled_twice(
    of_x: Any,
    of_shortcut: Any,
    cotangent: Any,
    x: Any,
    out: Any,
    gamma: Any,
    mean: Any,
    variance: Any,
    is_rectified: bool,
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
    through = cotangent.float()
    if is_rectified:
        through = torch.where(out > 0, through, 0.0)
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
    if is_rectified:
        of_cotangent = torch.where(out > 0, of_cotangent, 0.0)
    count = x.numel() // x.shape[1]
    return (
        of_cotangent.to(x.dtype),
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
        return _convolved(x, factor, strides).to(layers.arithmetic.dtype)

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> tuple[Any, ...]:
        x, kernel = ctx.saved_tensors
        layers = ctx.layers
        of_x = of_kernel = None
        if ctx.needs_input_grad[0]:
            of_x = _ConvolutionGradient.apply(cotangent, x, kernel, ctx.strides, layers)
        if not layers.is_of_inputs:
            (wide,) = layers.factors(cotangent)
            of_kernel = _kernel_gradient(wide, x, kernel, ctx.strides).to(layers.arithmetic.dtype)
        return of_x, of_kernel, None, None


class _ConvolutionGradient(torch.autograd.Function):
    """A convolution's gradient with respect to its input, of which it takes the shape alone."""

    @staticmethod
    def forward(ctx: Any, cotangent: Any, x: Any, kernel: Any, strides: int, layers: Layers) -> Any:
        cotangent, kernel = layers.factors(cotangent, kernel)
        ctx.save_for_backward(cotangent, kernel)
        ctx.strides, ctx.layers = strides, layers
        return _gradients(cotangent, x, kernel, strides, [True, False, False])[0].to(
            layers.arithmetic.dtype
        )

    @staticmethod
    def backward(ctx: Any, of_x: Any) -> tuple[Any, ...]:
        cotangent, kernel = ctx.saved_tensors
        layers = ctx.layers
        (of_x,) = layers.factors(of_x)
        of_kernel = _kernel_gradient(cotangent, of_x, kernel, ctx.strides).to(
            layers.arithmetic.dtype
        )
        of_cotangent = _convolved(of_x, kernel, ctx.strides).to(layers.arithmetic.dtype)
        return of_cotangent, None, of_kernel, None, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Any, gamma: Any, beta: Any, shortcut: Any, is_rectified: bool, kernels: Kernels
    ) -> tuple[Any, Any, Any]:
        out, mean, variance = kernels.normalised(x, gamma, beta, shortcut, is_rectified)
        ctx.save_for_backward(x, out, gamma, mean, variance)
        ctx.how = is_rectified, shortcut is not None, kernels
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, cotangent: Any, *_: Any) -> tuple[Any, ...]:
        found = _NormGradient.apply(_dense(cotangent), *ctx.saved_tensors, *ctx.how)
        of_x, of_shortcut, of_gamma, of_beta = found
        return of_x, of_gamma, of_beta, of_shortcut, None, None


class _NormGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cotangent: Any,
        x: Any,
        out: Any,
        gamma: Any,
        mean: Any,
        variance: Any,
        is_rectified: bool,
        has_shortcut: bool,
        kernels: Kernels,
    ) -> tuple[Any, Any, Any, Any]:
        ctx.save_for_backward(cotangent, x, out, gamma, mean, variance)
        ctx.how = is_rectified, kernels
        of_x, of_shortcut, of_gamma, of_beta = kernels.pulled(
            cotangent, x, out, gamma, mean, variance, is_rectified, has_shortcut
        )
        # A loss of input gradients alone does not see them.
        ctx.mark_non_differentiable(of_gamma, of_beta)
        ctx.set_materialize_grads(False)
        return of_x, of_shortcut, of_gamma, of_beta

    @staticmethod
    def backward(ctx: Any, of_x: Any, of_shortcut: Any, *_: Any) -> tuple[Any, ...]:
        if of_shortcut is not None:
            of_shortcut = _dense(of_shortcut)
        is_rectified, kernels = ctx.how
        found = kernels.pulled_twice(_dense(of_x), of_shortcut, *ctx.saved_tensors, is_rectified)
        of_cotangent, of_wide, of_gamma = found
        # The output counts by its sign alone; mean and variance are functions of x, and are in its.
        return of_cotangent, of_wide, None, of_gamma, None, None, None, None, None


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
