"""Residual networks for small images (He et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
from keras import layers, ops

from keras_lodin.models.networks.registry import NETWORKS

# The initialisation of the paper (and of the published Learning ODIN code).
_INITIALIZER = "he_normal"


@NETWORKS.register("resnet18")
def ResNet18(  # noqa: N802
    num_classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    name: str = "resnet18",
    width: int = 64,
) -> keras.Model:
    """ResNet18 with the stem for 32-pixel images: a 3 x 3 convolution and no pooling.

    11,173,962 trainable parameters with 10 classes, 11,220,132 with 100.

    Args:
        num_classes: number of classes.
        input_shape: `(height, width, channels)`, values from 0 to 1.
        name: name of the model.
        width: filters of the first stage; each later stage has twice as many as the one before.

    Returns:
        a `keras.Model` from images to LOGITS of shape `(batch, num_classes)`. The layer before
        the last is named `features`.

    Raises:
        ValueError: if `width` is not a whole number above 0.

    Example:
    ```python
    classifier = keras_lodin.models.ResNet18(num_classes=10, input_shape=(32, 32, 3))
    ```
    """
    return _wide_stem_resnet((2, 2, 2, 2), width, num_classes, input_shape, name)


@NETWORKS.register("resnet34")
def ResNet34(  # noqa: N802
    num_classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    name: str = "resnet34",
    width: int = 64,
) -> keras.Model:
    """ResNet34 with the stem for 32-pixel images: a 3 x 3 convolution and no pooling.

    21,282,122 trainable parameters with 10 classes, 21,328,292 with 100.

    Args:
        num_classes: number of classes.
        input_shape: `(height, width, channels)`, values from 0 to 1.
        name: name of the model.
        width: filters of the first stage; each later stage has twice as many as the one before.

    Returns:
        a `keras.Model` from images to LOGITS of shape `(batch, num_classes)`. The layer before
        the last is named `features`.

    Raises:
        ValueError: if `width` is not a whole number above 0.

    Example:
    ```python
    classifier = keras_lodin.models.ResNet34(num_classes=10, input_shape=(32, 32, 3))
    ```
    """
    return _wide_stem_resnet((3, 4, 6, 3), width, num_classes, input_shape, name)


@NETWORKS.register("resnet20")
def ResNet20(  # noqa: N802
    num_classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    name: str = "resnet20",
) -> keras.Model:
    """The paper's own ResNet-20 for CIFAR: 16, 32, 64 filters and shortcuts without parameters.

    269,722 trainable parameters with 10 classes.

    Args:
        num_classes: number of classes.
        input_shape: `(height, width, channels)`, values from 0 to 1.
        name: name of the model.

    Returns:
        a `keras.Model` from images to LOGITS of shape `(batch, num_classes)`. The layer before
        the last is named `features`.

    Example:
    ```python
    classifier = keras_lodin.models.ResNet20(num_classes=10, input_shape=(32, 32, 3))
    ```
    """
    inputs = keras.Input(tuple(input_shape), name="images")
    x = _convolution_norm(inputs, 16, 3, 1, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _basic_block(
                x, filters, strides, f"stage{stage + 1}_block{block + 1}", _pad_shortcut
            )
    return _classify(inputs, x, num_classes, name)


NETWORKS.register("resnet18_width16")(partial(ResNet18, width=16, name="resnet18_width16"))
NETWORKS.register("resnet34_width16")(partial(ResNet34, width=16, name="resnet34_width16"))


def _wide_stem_resnet(
    blocks: Sequence[int], width: int, num_classes: int, input_shape: Sequence[int], name: str
) -> keras.Model:
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"`width` must be a whole number above 0. Received: width={width!r}")
    inputs = keras.Input(tuple(input_shape), name="images")
    x = _convolution_norm(inputs, width, 3, 1, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _basic_block(
                x,
                width * 2**stage,
                strides,
                f"stage{stage + 1}_block{block + 1}",
                _projected_shortcut,
            )
    return _classify(inputs, x, num_classes, name)


def _classify(inputs: Any, x: Any, num_classes: int, name: str) -> keras.Model:
    x = layers.GlobalAveragePooling2D(name="features")(x)
    # Statistics and scores are float32 whatever the precision of the convolutions.
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def _basic_block(x: Any, filters: int, strides: int, name: str, make_shortcut: Any) -> Any:
    shortcut = x
    if strides != 1 or x.shape[-1] != filters:
        shortcut = make_shortcut(x, filters, strides, f"{name}_shortcut")
    x = _convolution_norm(x, filters, 3, strides, f"{name}_1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _convolution_norm(x, filters, 3, 1, f"{name}_2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _projected_shortcut(x: Any, filters: int, strides: int, name: str) -> Any:
    return _convolution_norm(x, filters, 1, strides, name)


def _pad_shortcut(x: Any, filters: int, strides: int, name: str) -> Any:
    """Every second pixel, with zeros for the channels that are new: no parameters."""
    missing = filters - x.shape[-1]
    x = x[:, ::strides, ::strides]
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [missing // 2, missing - missing // 2]])


def _convolution_norm(x: Any, filters: int, size: int, strides: int, name: str) -> Any:
    """Convolution and BatchNormalization, padded on both sides alike.

    Keras's "same" pads a strided convolution on one side only; the networks of the literature
    pad symmetrically.
    """
    if strides > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters,
        size,
        strides,
        padding="valid" if strides > 1 else "same",
        use_bias=False,
        kernel_initializer=_INITIALIZER,
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
