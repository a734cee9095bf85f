"""Wide residual networks (Zagoruyko & Komodakis 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import keras
from keras import layers

from keras_lodin.models.networks import pieces
from keras_lodin.models.networks.registry import NETWORKS


def WideResNet(  # noqa: N802
    depth: int = 40,
    width: int = 4,
    num_classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    name: str | None = None,
) -> keras.Model:
    """A residual network of three stages with `width` times 16, 32 and 64 filters.

    Normalization and activation come before each convolution. WRN-40-4 has 8,949,210 trainable
    parameters with 10 classes; WRN-34-1, which the published Learning ODIN code calls Madry's
    ResNet, 466,714.

    Args:
        depth: number of layers, 6 n + 4.
        width: k, what the filters are multiplied by.
        num_classes: number of classes.
        input_shape: `(height, width, channels)`, values from 0 to 1.
        name: name of the model; `wide_resnet_<depth>_<width>` by default.

    Returns:
        a `keras.Model` from images to LOGITS of shape `(batch, num_classes)`. The layer before
        the last is named `features`.

    Raises:
        ValueError: for a depth that is not 6 n + 4, or a width below 1.

    Example:
    ```python
    classifier = keras_lodin.models.WideResNet(depth=40, width=4, num_classes=10)
    ```
    """
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        raise ValueError(
            f"`depth` must be 6 n + 4: 10, 16, 22, 28, 34, 40, ... Received: depth={depth}"
        )
    if width < 1:
        raise ValueError(f"`width` must be 1 or more. Received: width={width}")
    inputs = keras.Input(tuple(input_shape), name="images")
    x = pieces.convolution(inputs, 16, 3, 1, "stem_conv")
    for stage, strides, prefix in pieces.stages((blocks,) * 3):
        filters = 16 * 2**stage * width
        y = pieces.normalization_relu(x, f"{prefix}_1")
        if strides != 1 or x.shape[-1] != filters:
            # A projection reads the normalised input, as both branches then do.
            x = pieces.convolution(y, filters, 1, strides, f"{prefix}_shortcut_conv")
        y = pieces.convolution(y, filters, 3, strides, f"{prefix}_1_conv")
        y = pieces.normalization_relu(y, f"{prefix}_2")
        y = pieces.convolution(y, filters, 3, 1, f"{prefix}_2_conv")
        x = layers.Add(name=f"{prefix}_add")([y, x])
    x = pieces.normalization_relu(x, "last")
    logits = pieces.logits(x, num_classes)
    return keras.Model(inputs, logits, name=name or f"wide_resnet_{depth}_{width}")


NETWORKS.register("wide_resnet_34_1")(partial(WideResNet, 34, 1))
NETWORKS.register("wide_resnet_34_10")(partial(WideResNet, 34, 10))
NETWORKS.register("wide_resnet_40_1")(partial(WideResNet, 40, 1))
NETWORKS.register("wide_resnet_40_4")(partial(WideResNet, 40, 4))
