"""Wide residual networks (Zagoruyko & Komodakis 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
from keras import layers

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
    x = _convolution(inputs, 16, 3, 1, "stem_conv")
    for stage in range(3):
        filters = 16 * 2**stage * width
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _block(x, filters, strides, f"stage{stage + 1}_block{block + 1}")
    x = _norm_relu(x, "last")
    x = layers.GlobalAveragePooling2D(name="features")(x)
    # Statistics and scores are float32 whatever the precision of the convolutions.
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=name or f"wide_resnet_{depth}_{width}")


NETWORKS.register("wide_resnet_34_1")(partial(WideResNet, 34, 1))
NETWORKS.register("wide_resnet_34_10")(partial(WideResNet, 34, 10))
NETWORKS.register("wide_resnet_40_1")(partial(WideResNet, 40, 1))
NETWORKS.register("wide_resnet_40_4")(partial(WideResNet, 40, 4))


def _block(x: Any, filters: int, strides: int, name: str) -> Any:
    shortcut = x
    y = _norm_relu(x, f"{name}_1")
    if strides != 1 or x.shape[-1] != filters:
        # A projection reads the normalised input, as both branches then do.
        shortcut = _convolution(y, filters, 1, strides, f"{name}_shortcut_conv")
    y = _convolution(y, filters, 3, strides, f"{name}_1_conv")
    y = _norm_relu(y, f"{name}_2")
    y = _convolution(y, filters, 3, 1, f"{name}_2_conv")
    return layers.Add(name=f"{name}_add")([y, shortcut])


def _norm_relu(x: Any, name: str) -> Any:
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _convolution(x: Any, filters: int, size: int, strides: int, name: str) -> Any:
    if strides > 1 and size > 1:
        # On both sides alike; Keras's "same" pads a strided convolution on one side only.
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding="valid" if strides > 1 else "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
