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

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.geometry import forward_attributes, sliced_to_size
from keras_lodin.export.onnx.rules.registry import RULES
from keras_lodin.export.windows import Window, window_of


@RULES.register("Conv3D")
def convolution_3d(builder: Builder, x: Value, kernel: Value) -> Value:
    """The forward pass in three dimensions: tf2onnx writes it too, but forgets the groups."""
    *sizes, per_group, _ = _sizes(kernel)
    window = window_of(builder.attribute, sizes, x.shape, builder.output.shape)
    channels = x.known_shape[-1]
    if channels is None:
        raise ValueError("the number of channels of a convolution is unknown")
    convolved = x.channels_first().op(
        "Conv",
        kernel.transpose([4, 3, 0, 1, 2]),
        dilations=window.dilations,
        group=channels // (per_group or 1),
        **forward_attributes(window),
    )
    return convolved.channels_last(5)


@RULES.register("Conv2DBackpropInput", "Conv3DBackpropInputV2", "Conv3DBackpropInput")
def convolution_gradient(
    builder: Builder, sizes: Value, kernel: Value, dy: Value, *bias: Value
) -> Value:
    """The adjoint of a convolution; also the forward pass of a transposed one.

    The inputs are the sizes of x, the kernel (*spatial, channels in / groups, channels out), dy,
    and perhaps a bias that tf2onnx moved here from behind a transposed convolution. TensorFlow
    has no attribute for groups: they are the quotient of x's and W's channels.
    """
    *spatial, per_group, _ = _sizes(kernel)
    window = window_of(builder.attribute, spatial, builder.output.shape, dy.shape)
    groups = _channels(builder, sizes) // (per_group or 1)
    rank = kernel.rank
    transposed = kernel.transpose([rank - 1, rank - 2, *range(rank - 2)])
    gradient = _scaled_adjoint(builder, dy, transposed, window, groups, sizes)
    return gradient + bias[0] if bias else gradient


@RULES.register("DepthwiseConv2dNativeBackpropInput")
def depthwise_convolution_gradient(
    builder: Builder, sizes: Value, kernel: Value, dy: Value
) -> Value:
    """The adjoint of a depthwise convolution, a convolution with one group per input channel.

    Its kernel is (height, width, channels, multiplier); output channel c * multiplier + j reads
    channel c alone.
    """
    height, width, channels, multiplier = _sizes(kernel)
    window = window_of(builder.attribute, [height, width], builder.output.shape, dy.shape)
    transposed = kernel.transpose([2, 3, 0, 1])
    per_output = transposed.reshape(channels * multiplier, 1, height, width)
    return _scaled_adjoint(builder, dy, per_output, window, channels, sizes)


def convolution_adjoint(
    builder: Builder, upstream: Value, kernel: Value, window: Window, groups: int, sizes: Value
) -> Value:
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
    common = {
        "dilations": window.dilations,
        "group": groups,
        "kernel_shape": window.kernel,
    }
    if window.free:
        full = upstream.op("ConvTranspose", kernel, strides=window.strides, **common)
        return sliced_to_size(builder, full, upstream, window, sizes)
    before, after = window.padding()
    if all(stride == 1 for stride in window.strides):
        pads = [r - 1 - p for r, p in zip(window.reach * 2, before + after, strict=True)]
        if min(pads) >= 0:
            return upstream.op("Conv", _turned_round(kernel, groups), pads=pads, **common)
    if groups > 1 and len(window.kernel) == 2 and _sizes(kernel)[:2] == [groups, 1]:
        start = [r - 1 - p for r, p in zip(window.reach, before, strict=True)]
        behind = [
            n - s * m - p + r - 1
            for n, s, m, p, r in zip(
                window.input_sizes,
                window.strides,
                window.output_sizes,
                start,
                window.reach,
                strict=True,
            )
        ]
        if min(start + behind) >= 0:
            return _of_stretched(upstream, kernel, window, groups, start + behind)
    # A stride may skip the last pixels: no window reads them, and ONNX calls them output padding.
    return upstream.op(
        "ConvTranspose",
        kernel,
        strides=window.strides,
        pads=before + [max(n, 0) for n in after],
        output_padding=[max(-n, 0) for n in after],
        **common,
    )


def _scaled_adjoint(
    builder: Builder, dy: Value, kernel: Value, window: Window, groups: int, sizes: Value
) -> Value:
    """`convolution_adjoint` for the channels last, a factor per channel moved into the kernel.

    It is a batch normalization's, behind the layer: done once when a runtime loads the file,
    instead of for every pixel. In the forward pass runtimes do it by themselves.
    """
    rank, channels = dy.rank, kernel.known_shape[0]
    for scale, rest in (dy.factors, dy.factors[::-1]) if dy.factors else ():
        value = scale.known
        # (channels,), or with ones before it; not one number per pixel.
        if value is None or value.ndim > rank or value.size != channels:
            continue
        # Nor what the product itself spreads over the channels or pixels of a smaller tensor.
        if rest.shape == dy.shape and value.ndim and value.shape[-1] == channels:
            dy = rest
            kernel *= builder.constant(value.reshape(-1, *[1] * (rank - 1)))
            break
    first = dy.channels_first()
    return convolution_adjoint(builder, first, kernel, window, groups, sizes).channels_last(rank)


def _of_stretched(
    upstream: Value, kernel: Value, window: Window, groups: int, pads: list[int]
) -> Value:
    """`convolution_adjoint` of a depthwise convolution with strides, as a convolution.

    Zeros are set between the pixels of dy. Runtimes have no fast transposed convolution of one
    channel at a time.
    """
    height, width = window.output_sizes
    down, right = window.strides
    # Behind each row, and behind each pixel's channels, so that what is copied are whole pixels.
    # (n, h, 1, w, c) to (n, h, down, w, right * c); a 0 in a shape is the size that was there.
    amounts = [0] * 5 + [0, 0, down - 1, 0, (right - 1) * groups]
    rows = upstream.channels_last(4).op("Unsqueeze", [2]).op("Pad", amounts)
    stretched = rows.reshape(0, height * down, width * right, groups)
    return stretched.channels_first().op(
        "Conv",
        _turned_round(kernel, groups),
        pads=pads,
        dilations=window.dilations,
        group=groups,
        kernel_shape=window.kernel,
    )


def _turned_round(kernel: Value, groups: int) -> Value:
    """(out, in / groups, *k) to (in, out / groups, *k), every spatial axis reversed."""
    out, per_group, *sizes = _sizes(kernel)
    rank = 2 + len(sizes)
    if groups > 1:
        kernel = kernel.reshape(groups, out // groups, per_group, *sizes)
        kernel = kernel.transpose([0, 2, 1, *range(3, rank + 1)])
        kernel = kernel.reshape(groups * per_group, out // groups, *sizes)
    else:
        kernel = kernel.transpose([1, 0, *range(2, rank)])
    return kernel.reversed([2 + i for i, size in enumerate(sizes) if size > 1])


def _sizes(kernel: Value) -> list[int]:
    """A kernel's sizes, 0 for one that is not known."""
    return [int(size or 0) for size in kernel.known_shape]


def _channels(builder: Builder, sizes: Value) -> int:
    """Channels of x, from the node's shape or from its sizes."""
    shape = builder.output.shape
    if shape is not None and shape[-1] is not None:
        return shape[-1]
    if sizes.known is None:
        raise ValueError("the number of channels of a convolution is unknown")
    return int(sizes.known[-1])
