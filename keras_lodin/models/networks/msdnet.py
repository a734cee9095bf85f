"""Multi-Scale Dense Networks for small images (Huang et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import keras
from keras import layers

from keras_lodin.models.networks import pieces
from keras_lodin.models.networks.registry import NETWORKS
from keras_lodin.utils.tensor import Tensor

# One entry per scale, from full resolution to a quarter of it. They multiply the channels of a
# layer, and say how much wider than its output the bottleneck before a convolution may be.
_FACTORS = (1, 2, 4)
_LAYERS_PER_EXIT = 4
_EXIT_CHANNELS = 128


@NETWORKS.register("msdnet")
def MSDNet(  # noqa: N802
    num_classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    name: str = "msdnet",
    *,
    exits: int = 5,
    growth: int = 6,
    initial_channels: int = 32,
) -> keras.Model:
    """A densely connected network of three scales that answers at several depths.

    The defaults are the published network for CIFAR: 20 layers, an exit after every fourth. A
    layer makes new channels at each scale from that scale and the next finer one. After each
    third of the layers the finest scale ends, and half of the channels of the others go on.

    2,822,082 trainable parameters with 10 classes, 2,880,132 with 100. The exits need 24.3, 41.3,
    58.8, 74.3 and 86.9 million multiply-adds, each computed alone; the published figures, 26.6,
    51.6, 68.9, 88.4 and 105.1 million, count more (biases and activations, and whole blocks).

    Args:
        num_classes: number of classes.
        input_shape: `(height, width, channels)`, values from 0 to 1.
        name: name of the model.
        exits: number of outputs; four layers lead to each.
        growth: new channels of a layer at the finest scale; twice and four times as many at the
            coarser ones.
        initial_channels: channels of the finest scale after the first layer.

    Returns:
        a `keras.Model` from images to a list of LOGITS, one array of shape
        `(batch, num_classes)` per exit, the earliest first (with `exits=1`, that array alone).
        The layers of exit i are named `exit<i>_features`, the vector that enters its `Dense`, and
        `exit<i>_logits`.

    Raises:
        ValueError: if `exits`, `growth` or `initial_channels` is not a whole number above 0.

    Example:
    ```python
    network = keras_lodin.models.MSDNet(num_classes=10)
    first, *_, last = network(images)
    ```
    """
    options = {"exits": exits, "growth": growth, "initial_channels": initial_channels}
    for option, value in options.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"`{option}` must be a whole number above 0. Received: {option}={value!r}"
            )
    inputs = keras.Input(tuple(input_shape), name="images")
    count = exits * _LAYERS_PER_EXIT
    third = math.ceil(count / len(_FACTORS))
    channels = initial_channels
    # Feature maps by scale, each made from the next finer one.
    maps, x = {}, inputs
    for scale, factor in enumerate(_FACTORS):
        strides = 1 if scale == 0 else 2
        x = maps[scale] = _convolution(x, channels * factor, 3, strides, f"first_{_scale(scale)}")
    logits = []
    for layer in range(count):
        prefix = f"layer{layer + 1}"
        finest = layer // third
        ends_a_scale = finest > min(maps)
        maps = _dense_layer(maps, finest, growth, prefix)
        channels += growth
        if ends_a_scale:
            channels //= 2
            maps = _transition(maps, channels, prefix)
        if (layer + 1) % _LAYERS_PER_EXIT == 0:
            prefix = f"exit{(layer + 1) // _LAYERS_PER_EXIT}"
            logits.append(_exit(maps[max(maps)], num_classes, prefix))
    return keras.Model(inputs, logits, name=name)


def _dense_layer(
    maps: Mapping[int, Tensor], finest: int, growth: int, name: str
) -> dict[int, Tensor]:
    """The maps of the scales from `finest` on, each with new channels appended."""
    grown = {}
    for scale in range(finest, len(_FACTORS)):
        prefix = f"{name}_{_scale(scale)}"
        filters = growth * _FACTORS[scale]
        new = []
        if scale - 1 in maps:
            filters //= 2
            finer, factor = maps[scale - 1], _FACTORS[scale - 1]
            new.append(_bottleneck_convolution(finer, filters, factor, 2, f"{prefix}_down"))
        kept, factor = maps[scale], _FACTORS[scale]
        new.append(_bottleneck_convolution(kept, filters, factor, 1, f"{prefix}_same"))
        grown[scale] = layers.Concatenate(name=f"{prefix}_concat")([kept, *new])
    return grown


def _transition(maps: Mapping[int, Tensor], channels: int, name: str) -> dict[int, Tensor]:
    return {
        scale: _convolution(
            x, channels * _FACTORS[scale], 1, 1, f"{name}_{_scale(scale)}_transition"
        )
        for scale, x in maps.items()
    }


def _exit(x: Tensor, num_classes: int, name: str) -> Tensor:
    for index in (1, 2):
        x = _convolution(x, _EXIT_CHANNELS, 3, 2, f"{name}_{index}")
    # 2 x 2 positions are left of 32 pixels: the published average pooling by 2. Images of other
    # sizes leave more or fewer.
    return pieces.logits(x, num_classes, f"{name}_")


def _bottleneck_convolution(
    x: Tensor, filters: int, factor: int, strides: int, name: str
) -> Tensor:
    width = min(x.shape[-1], factor * filters)
    x = _convolution(x, width, 1, 1, f"{name}_bottleneck")
    return _convolution(x, filters, 3, strides, name)


def _convolution(x: Tensor, filters: int, size: int, strides: int, name: str) -> Tensor:
    x = pieces.convolution(x, filters, size, strides, name, "_conv")
    return pieces.normalization_relu(x, name)


def _scale(scale: int) -> str:
    return f"scale{scale + 1}"
