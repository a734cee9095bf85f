"""The losses by the names that the command line and a sweep use."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_lodin.utils.registry import Registry

# Functions of the number behind the colon, None without, and of whether the classifier returns
# logits, not probabilities.
LOSSES: Registry[Callable[[float | None, bool], keras.losses.Loss]] = Registry("loss")
