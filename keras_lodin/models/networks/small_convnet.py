"""A small network for small images."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_lodin.models.networks import pieces
from keras_lodin.models.networks.registry import NETWORKS


@NETWORKS.register("small_convnet")
def SmallConvNet(  # noqa: N802
    num_classes: int = 10,
    input_shape: Sequence[int] = (8, 8, 1),
    name: str = "small_convnet",
) -> keras.Model:
    """Four convolutions for images of 8 to 28 pixels, trained in seconds on a laptop.

    Args:
        num_classes: number of classes.
        input_shape: `(height, width, channels)`, values from 0 to 1; at least 4 pixels a side.
        name: name of the model.

    Returns:
        a `keras.Model` from images to LOGITS of shape `(batch, num_classes)`. The layer before
        the last is named `features`.

    Example:
    ```python
    classifier = keras_lodin.models.SmallConvNet(num_classes=7, input_shape=(8, 8, 1))
    ```
    """
    inputs = keras.Input(tuple(input_shape), name="images")
    x = inputs
    for index, (filters, strides) in enumerate(((32, 1), (32, 2), (64, 1), (64, 2)), start=1):
        x = layers.Conv2D(
            filters,
            3,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"conv{index}",
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    return keras.Model(inputs, pieces.logits(x, num_classes), name=name)
