"""The networks of `keras_lodin.models` as functions of layers.

The names of layers and weights are Keras's, so that weights go from one to the other by name:
`LAYER/WEIGHT`. `tests/core/test_full_scale_steps.py` compares them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import torch

from scale import product

CLASSES = 10


def logits_of(name: str) -> Callable[[Any, Any], Any]:
    """`logits(layers, x)` of a network: float32 logits of images with values from 0 to 1.

    `layers` are `layers.Layers` or `layers.StillLayers`; `x` is of shape `(batch, 3, height,
    width)`.

    Args:
        name: `resnet18`, `resnet20` or `wide_resnet_DEPTH_WIDTH`; `resnet18_width16` is a narrow
            one.

    Raises:
        ValueError: for another name.
    """
    body = _body(name)

    def logits(layers: Any, x: Any) -> Any:
        return layers.dense(body(layers, x).float().mean((2, 3)), "logits")

    return logits


def new_model(name: str, seed: int, input_shape: tuple[int, int, int] = (32, 32, 3)) -> Any:
    """The product's own network of a name, with the initial weights of a seed."""
    import keras

    models = product.load("models")
    kind, *numbers = parts(name)
    # Drawn alike whatever trains it.
    with keras.device("cpu"):
        keras.utils.set_random_seed(seed)
        common = {"input_shape": input_shape, "num_classes": CLASSES}
        if kind == "resnet18":
            return models.ResNet18(**common, width=numbers[0])
        if kind == "wide_resnet":
            return models.WideResNet(*numbers, **common)
        return models.ResNet20(**common)


def parts(name: str) -> tuple[Any, ...]:
    """The kind of a network and its numbers: `("wide_resnet", 34, 1)`.

    Raises:
        ValueError: for another name than `logits_of` takes.
    """
    if name == "resnet20":
        return ("resnet20",)
    if found := re.fullmatch(r"resnet18(?:_width(\d+))?", name):
        return "resnet18", int(found[1] or 64)
    if found := re.fullmatch(r"wide_resnet_(\d+)_(\d+)", name):
        return "wide_resnet", int(found[1]), int(found[2])
    raise ValueError(
        f"Expected resnet18, resnet20 or wide_resnet_DEPTH_WIDTH. Received: name={name!r}"
    )


def _body(name: str) -> Callable[[Any, Any], Any]:
    kind, *numbers = parts(name)
    if kind == "wide_resnet":
        depth, width = numbers
        return functools.partial(_wide_resnet, depth=depth, width=width)
    if kind == "resnet18":
        return functools.partial(_resnet18, width=numbers[0])
    return _resnet20


def _basic_block(layers: Any, x: Any, strides: int, name: str, shortcut: Any) -> Any:
    y = layers.convolution(x, strides, f"{name}_1_conv")
    y = layers.norm_relu(y, f"{name}_1_norm")
    y = layers.convolution(y, 1, f"{name}_2_conv")
    return layers.norm_relu(y, f"{name}_2_norm", shortcut)


def _stem(layers: Any, x: Any) -> Any:
    return layers.norm_relu(layers.convolution(x, 1, "stem_conv"), "stem_norm")


def _resnet18(layers: Any, x: Any, width: int) -> Any:
    x = _stem(layers, x)
    for stage in range(4):
        for block in range(2):
            strides = 2 if stage > 0 and block == 0 else 1
            name = f"stage{stage + 1}_block{block + 1}"
            shortcut = x
            if strides != 1 or x.shape[1] != width * 2**stage:
                shortcut = layers.convolution(x, strides, f"{name}_shortcut_conv")
                shortcut = layers.norm(shortcut, f"{name}_shortcut_norm")
            x = _basic_block(layers, x, strides, name, shortcut)
    return x


def _resnet20(layers: Any, x: Any) -> Any:
    x = _stem(layers, x)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage > 0 and block == 0 else 1
            shortcut = x
            if strides != 1:
                # Every second pixel, with zeros for the channels that are new.
                missing = filters - x.shape[1]
                sides = (0, 0, 0, 0, missing // 2, missing - missing // 2)
                shortcut = torch.nn.functional.pad(x[:, :, ::strides, ::strides], sides)
                shortcut = shortcut.contiguous(memory_format=torch.channels_last)
            x = _basic_block(layers, x, strides, f"stage{stage + 1}_block{block + 1}", shortcut)
    return x


def _wide_resnet(layers: Any, x: Any, depth: int, width: int) -> Any:
    x = layers.convolution(x, 1, "stem_conv")
    for stage in range(3):
        filters = 16 * 2**stage * width
        for block in range((depth - 4) // 6):
            strides = 2 if stage > 0 and block == 0 else 1
            name = f"stage{stage + 1}_block{block + 1}"
            shortcut = x
            y = layers.norm_relu(x, f"{name}_1_norm")
            if strides != 1 or x.shape[1] != filters:
                shortcut = layers.convolution(y, strides, f"{name}_shortcut_conv")
            y = layers.convolution(y, strides, f"{name}_1_conv")
            y = layers.norm_relu(y, f"{name}_2_norm")
            x = layers.convolution(y, 1, f"{name}_2_conv") + shortcut
    return layers.norm_relu(x, "last_norm")
