"""Networks by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from keras_lodin.utils.registry import Registry

NETWORKS: Registry[Callable[..., keras.Model]] = Registry(
    "network", ", or the path of a .keras file"
)


def names() -> list[str]:
    """The names that `build` knows."""
    return list(NETWORKS)


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
    network = NETWORKS.find(name)
    if len(input_shape) != 3:
        raise ValueError(
            f"{name} takes images of shape (height, width, channels). "
            f"Received: input_shape={tuple(input_shape)}"
        )
    return network(num_classes=num_classes, input_shape=tuple(input_shape))
