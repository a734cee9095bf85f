"""Gradients of convolutions with respect to their inputs.

A convolution is linear in its input, so its adjoint does not depend on the input: with strides s,
dilations d and padding p before the first pixel,

    y[m, o] = sum_{k, i} W[k, i, o] x[s m + d k - p, i]
    dx[n, i] = sum_{m, k, o : s m + d k - p = n} W[k, i, o] dy[m, o]

which is ONNX's ConvTranspose on the forward kernel. With s = 1 it is itself a convolution, with
the kernel turned round and its channels exchanged, which runtimes compute faster. The forward
kernel is read in both cases, so that a file holds it once.
"""

from __future__ import annotations

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.export.onnx.rules.geometry import Window, sliced_to_size, window_of
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("Conv3D")
def convolution_3d(builder: Builder) -> str:
    """The forward pass in three dimensions: tf2onnx writes it too, but forgets the groups."""
    inputs, kernel = builder.inputs
    kernel_shape = builder.known_shape(kernel)
    window = window_of(
        builder,
        [int(size or 0) for size in kernel_shape[:3]],
        builder.shape(inputs),
        builder.output_shape(),
    )
    channels = builder.known_shape(inputs)[-1]
    if channels is None:
        raise ValueError("the number of channels of a convolution is unknown")
    convolved = builder.op(
        "Conv",
        builder.channels_first(inputs),
        builder.transpose(kernel, [4, 3, 0, 1, 2]),
        dilations=window.dilations,
        group=channels // int(kernel_shape[-2] or 1),
        **window.attributes(),
    )
    return builder.channels_last(convolved, 5)


@RULES.register("Conv2DBackpropInput", "Conv3DBackpropInputV2", "Conv3DBackpropInput")
def convolution_gradient(builder: Builder) -> str:
    """The adjoint of a convolution; also the forward pass of a transposed one.

    The inputs are the sizes of x, the kernel (*spatial, channels in / groups, channels out), dy,
    and perhaps a bias that tf2onnx moved here from behind a transposed convolution. TensorFlow
    has no attribute for groups: they are the quotient of x's and W's channels.
    """
    sizes, kernel, upstream, *bias = builder.inputs
    rank = len(builder.known_shape(kernel))
    spatial = rank - 2
    kernel_shape = builder.known_shape(kernel)
    window = window_of(
        builder,
        [int(size or 0) for size in kernel_shape[:spatial]],
        builder.output_shape(),
        builder.shape(upstream),
    )
    channels = _channels(builder, sizes)
    groups = channels // int(kernel_shape[-2] or 1)
    transposed = builder.transpose(kernel, [rank - 1, rank - 2, *range(spatial)])
    upstream, transposed = _scaled_kernel(builder, upstream, transposed)
    gradient = convolution_adjoint(
        builder, builder.channels_first(upstream), transposed, window, groups, sizes
    )
    gradient = builder.channels_last(gradient, rank)
    return builder.op("Add", gradient, bias[0]) if bias else gradient


@RULES.register("DepthwiseConv2dNativeBackpropInput")
def depthwise_convolution_gradient(builder: Builder) -> str:
    """The adjoint of a depthwise convolution, a convolution with one group per input channel.

    Its kernel is (height, width, channels, multiplier); output channel c * multiplier + j reads
    channel c alone.
    """
    sizes, kernel, upstream = builder.inputs
    height, width, channels, multiplier = (int(n or 0) for n in builder.known_shape(kernel))
    window = window_of(builder, [height, width], builder.output_shape(), builder.shape(upstream))
    transposed = builder.transpose(kernel, [2, 3, 0, 1])
    per_output = builder.op("Reshape", transposed, [channels * multiplier, 1, height, width])
    upstream, per_output = _scaled_kernel(builder, upstream, per_output)
    gradient = convolution_adjoint(
        builder, builder.channels_first(upstream), per_output, window, channels, sizes
    )
    return builder.channels_last(gradient, 4)


def convolution_adjoint(
    builder: Builder, upstream: str, kernel: str, window: Window, groups: int, sizes: str
) -> str:
    """The adjoint, in ONNX's layout.

    Args:
        builder: where to write.
        upstream: dy, (batch, channels out, *spatial).
        kernel: (channels out, channels in / groups, *spatial), the forward pass's own.
        window: strides, dilations and padding of the forward pass.
        groups: number of groups.
        sizes: the shape of x, channels last, as a tensor.

    Returns:
        dx, (batch, channels in, *spatial).
    """
    if window.free:
        full = builder.op(
            "ConvTranspose",
            upstream,
            kernel,
            strides=window.strides,
            dilations=window.dilations,
            group=groups,
            kernel_shape=window.kernel,
        )
        return sliced_to_size(builder, full, upstream, window, sizes)
    before, after = window.padding()
    if all(stride == 1 for stride in window.strides):
        reach = [d * (k - 1) for d, k in zip(window.dilations, window.kernel, strict=True)]
        pads = [r - p for r, p in zip(reach * 2, before + after, strict=True)]
        if min(pads) >= 0:
            return builder.op(
                "Conv",
                upstream,
                _turned_round(builder, kernel, window, groups),
                dilations=window.dilations,
                group=groups,
                kernel_shape=window.kernel,
                pads=pads,
            )
    # A stride may skip the last pixels: no window reads them, and ONNX calls them output padding.
    return builder.op(
        "ConvTranspose",
        upstream,
        kernel,
        strides=window.strides,
        dilations=window.dilations,
        group=groups,
        kernel_shape=window.kernel,
        pads=before + [max(n, 0) for n in after],
        output_padding=[max(-n, 0) for n in after],
    )


def _scaled_kernel(builder: Builder, upstream: str, kernel: str) -> tuple[str, str]:
    """Moves a factor per channel from dy to the kernel: a batch normalization's, behind the layer.

    Done once when a runtime loads the file, instead of for every pixel. In the forward pass
    runtimes do it by themselves.

    Args:
        builder: at the gradient node.
        upstream: dy, channels last.
        kernel: (channels out, ...).

    Returns:
        dy and the kernel, both as they were if dy is no such product.
    """
    factors = builder.factors(upstream)
    rank = len(builder.known_shape(upstream))
    channels = builder.known_shape(kernel)[0]
    for scale, rest in (factors, factors[::-1]) if factors else ():
        value = builder.value(scale)
        # (channels,), or with ones before it; not one number per pixel.
        if value is None or value.ndim > rank or value.size != channels:
            continue
        # Nor what the product itself spreads over the channels or pixels of a smaller tensor.
        if builder.shape(rest) != builder.shape(upstream):
            continue
        if value.ndim and value.shape[-1] == channels:
            column = value.reshape(-1, *[1] * (rank - 1))
            return rest, builder.op("Mul", kernel, builder.constant(column))
    return upstream, kernel


def _turned_round(builder: Builder, kernel: str, window: Window, groups: int) -> str:
    """(out, in / groups, *k) to (in, out / groups, *k), every spatial axis reversed."""
    out, per_group, *sizes = (int(n or 0) for n in builder.known_shape(kernel))
    rank = 2 + len(sizes)
    if groups > 1:
        kernel = builder.op("Reshape", kernel, [groups, out // groups, per_group, *sizes])
        kernel = builder.transpose(kernel, [0, 2, 1, *range(3, rank + 1)])
        kernel = builder.op("Reshape", kernel, [groups * per_group, out // groups, *sizes])
    else:
        kernel = builder.transpose(kernel, [1, 0, *range(2, rank)])
    return builder.reversed(kernel, [2 + i for i, size in enumerate(sizes) if size > 1])


def _channels(builder: Builder, sizes: str) -> int:
    """Channels of x, from the node's shape or from its sizes."""
    shape = builder.output_shape()
    if shape is not None and shape[-1] is not None:
        return shape[-1]
    value = builder.value(sizes)
    if value is None:
        raise ValueError("the number of channels of a convolution is unknown")
    return int(value[-1])
