"""Losses by name, as the command line and a sweep write them: `NAME` or `NAME:VALUE`."""

from __future__ import annotations

import keras

from keras_lodin.training.losses.label_smoothing import LabelSmoothing
from keras_lodin.training.losses.logit_norm import LogitNorm
from keras_lodin.utils.registry import did_you_mean

_CROSS_ENTROPY = "cross_entropy"
# What the value is when none is given.
_WITH_VALUE = {"logit_norm": 0.04, "label_smoothing": 0.1}


def names() -> list[str]:
    """The names, in the order of the documentation."""
    return [_CROSS_ENTROPY, *_WITH_VALUE]


def build(specification: str, from_logits: bool) -> keras.losses.Loss:
    """Makes a loss.

    Args:
        specification: `cross_entropy`, `logit_norm`, `logit_norm:TEMPERATURE`,
            `label_smoothing` or `label_smoothing:SMOOTHING`.
        from_logits: whether the classifier returns logits, not probabilities.

    Returns:
        a loss of labels that are class numbers.

    Raises:
        ValueError: for an unknown name, a value that is not one, or `logit_norm` on probabilities.

    Example:
    ```python
    classifier.compile("sgd", keras_lodin.losses.build("logit_norm:0.1", from_logits=True))
    ```
    """
    name, colon, text = str(specification).partition(":")
    if name not in names():
        raise ValueError(
            f"The loss must be one of {', '.join(names())}.{did_you_mean(name, names())} "
            f"Received: loss={specification!r}"
        )
    if name == _CROSS_ENTROPY:
        if colon:
            raise ValueError(f"cross_entropy takes no value. Received: loss={specification!r}")
        return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    try:
        value = float(text) if colon else _WITH_VALUE[name]
    except ValueError:
        raise ValueError(
            f"After the colon of a loss comes a number, as in '{name}:{_WITH_VALUE[name]:g}'. "
            f"Received: loss={specification!r}"
        ) from None
    if name == "label_smoothing":
        return LabelSmoothing(value, from_logits=from_logits)
    if not from_logits:
        raise ValueError(
            "logit_norm needs a classifier that returns logits: of probabilities the length of the "
            f"logits is no longer known. Received: loss={specification!r}, a classifier that ends "
            "in a softmax"
        )
    return LogitNorm(value)
