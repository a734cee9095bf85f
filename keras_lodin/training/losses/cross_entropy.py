"""The plain cross-entropy, for those who choose a loss by name."""

from __future__ import annotations

import keras

from keras_lodin.training.losses.registry import LOSSES


@LOSSES.register("cross_entropy", description="cross_entropy", position=1)
def _cross_entropy(value: float | None, from_logits: bool) -> keras.losses.Loss:
    if value is not None:
        raise ValueError(f"cross_entropy takes no value. Received: loss='cross_entropy:{value:g}'")
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
