"""The networks by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_lodin.utils.registry import Registry

NETWORKS: Registry[Callable[..., keras.Model]] = Registry(
    "network", ", or the path of a .keras file"
)
