"""Residual networks for small images (He et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras
from keras import layers, ops

from keras_lodin.models.networks import pieces
from keras_lodin.models.networks.registry import NETWORKS
from keras_lodin.utils.tensor import Tensor


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
    return _resnet((2, 2, 2, 2), width, _projected_shortcut, num_classes, input_shape, name)


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
    return _resnet((3, 4, 6, 3), width, _projected_shortcut, num_classes, input_shape, name)


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
    return _resnet((3, 3, 3), 16, _padded_shortcut, num_classes, input_shape, name)


NETWORKS.register("resnet18_width16")(partial(ResNet18, width=16, name="resnet18_width16"))
NETWORKS.register("resnet34_width16")(partial(ResNet34, width=16, name="resnet34_width16"))


def _resnet(
    blocks: Sequence[int],
    width: int,
    shortcut: Callable[[Tensor, int, int, str], Tensor],
    num_classes: int,
    input_shape: Sequence[int],
    name: str,
) -> keras.Model:
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"`width` must be a whole number above 0. Received: width={width!r}")
    inputs = keras.Input(tuple(input_shape), name="images")
    x = _convolution_norm(inputs, width, 1, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, strides, prefix in pieces.stages(blocks):
        filters = width * 2**stage
        y = x
        if strides != 1 or x.shape[-1] != filters:
            y = shortcut(x, filters, strides, f"{prefix}_shortcut")
        x = _convolution_norm(x, filters, strides, f"{prefix}_1")
        x = layers.ReLU(name=f"{prefix}_relu1")(x)
        x = _convolution_norm(x, filters, 1, f"{prefix}_2")
        x = layers.Add(name=f"{prefix}_add")([x, y])
        x = layers.ReLU(name=f"{prefix}_relu2")(x)
    return keras.Model(inputs, pieces.logits(x, num_classes), name=name)


def _padded_shortcut(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
    """Every second pixel, with zeros for the channels that are new: no parameters."""
    missing = filters - x.shape[-1]
    x = x[:, ::strides, ::strides]
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [missing // 2, missing - missing // 2]])


def _convolution_norm(x: Tensor, filters: int, strides: int, name: str, size: int = 3) -> Tensor:
    return pieces.normalization(pieces.convolution(x, filters, size, strides, name, "_conv"), name)


_projected_shortcut = partial(_convolution_norm, size=1)
