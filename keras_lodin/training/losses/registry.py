"""Losses by name, as the command line and a sweep write them: `NAME` or `NAME:VALUE`."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_lodin.utils.registry import Registry

# Functions of the number behind the colon, None without, and of whether the classifier returns
# logits, not probabilities.
LOSSES: Registry[Callable[[float | None, bool], keras.losses.Loss]] = Registry("loss")


def names() -> list[str]:
    """The names, in the order of the documentation."""
    return list(LOSSES)


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
    make = LOSSES.find(name, "loss", specification)
    try:
        value = float(text) if colon else None
    except ValueError:
        raise ValueError(
            f"After the colon of a loss comes a number, as in '{name}:0.1'. "
            f"Received: loss={specification!r}"
        ) from None
    return make(value, from_logits)
