"""Detectors by the names that the command line and the reports use."""

from __future__ import annotations

from typing import Any

import keras

from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.energy import EnergyDetector
from keras_lodin.detectors.max_logit import MaxLogitDetector
from keras_lodin.detectors.msp import MSPDetector
from keras_lodin.detectors.odin import ODINDetector
from keras_lodin.suggestions import did_you_mean

_CLASSES: dict[str, type[Detector]] = {
    "msp": MSPDetector,
    "max_logit": MaxLogitDetector,
    "energy": EnergyDetector,
    "odin": ODINDetector,
}


def names() -> list[str]:
    """The names that `build` knows."""
    return list(_CLASSES)


def build(
    name: str, classifier: keras.Model, input_range: tuple[float, float], **options: Any
) -> Detector:
    """A detector by name, with its default settings.

    Args:
        name: one of `names()`.
        classifier: see `Detector`.
        input_range: range of the classifier's inputs, for the detectors that step in them.
        **options: see the detector's own class.

    Raises:
        ValueError: for an unknown name.
    """
    check(name)
    if name == "odin":
        options["input_range"] = input_range
    return _CLASSES[name](classifier, **options)


def check(name: str) -> None:
    """Raises ValueError for a name that `build` does not know."""
    if name not in _CLASSES:
        raise ValueError(
            f"The detector must be one of {', '.join(names())}.{did_you_mean(name, names())} "
            f"Received: name={name!r}"
        )


def name_of(detector: Detector) -> str:
    """The name of a detector's class; the class's own for one that has no name here."""
    for name, cls in _CLASSES.items():
        if type(detector) is cls:
            return name
    return type(detector).__name__
