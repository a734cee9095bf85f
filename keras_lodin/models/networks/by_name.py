"""Networks by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras

from keras_lodin.models.networks.msdnet import MSDNet
from keras_lodin.models.networks.resnet import ResNet18, ResNet20, ResNet34
from keras_lodin.models.networks.small_convnet import SmallConvNet
from keras_lodin.models.networks.wide_resnet import WideResNet
from keras_lodin.utils.registry import did_you_mean

_BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "msdnet": MSDNet,
    "resnet18": ResNet18,
    "resnet18_width16": partial(ResNet18, width=16, name="resnet18_width16"),
    "resnet20": ResNet20,
    "resnet34": ResNet34,
    "resnet34_width16": partial(ResNet34, width=16, name="resnet34_width16"),
    "small_convnet": SmallConvNet,
    "wide_resnet_34_1": partial(WideResNet, 34, 1),
    "wide_resnet_34_10": partial(WideResNet, 34, 10),
    "wide_resnet_40_1": partial(WideResNet, 40, 1),
    "wide_resnet_40_4": partial(WideResNet, 40, 4),
}


def names() -> list[str]:
    """The names that `build` knows."""
    return sorted(_BUILDERS)


def build(name: str, num_classes: int, input_shape: Sequence[int]) -> keras.Model:
    """An untrained network by name.

    Args:
        name: one of `names()`.
        num_classes: number of classes.
        input_shape: `(height, width, channels)`.

    Returns:
        a `keras.Model` from images with values from 0 to 1 to logits; `msdnet` returns a list of
        them, one for each exit.

    Raises:
        ValueError: for an unknown name, or a shape that is not that of an image.
    """
    if name not in _BUILDERS:
        raise ValueError(
            f"The network must be one of {', '.join(names())}, or the path of a .keras file."
            f"{did_you_mean(name, names())} Received: name={name!r}"
        )
    if len(input_shape) != 3:
        raise ValueError(
            f"{name} takes images of shape (height, width, channels). "
            f"Received: input_shape={tuple(input_shape)}"
        )
    return _BUILDERS[name](num_classes=num_classes, input_shape=tuple(input_shape))
