"""Detectors by the names that the command line and the reports use."""

from __future__ import annotations

from typing import Any

import keras

from keras_lodin.detectors.detector import Detector
from keras_lodin.models.exits import at_exit
from keras_lodin.models.head import has_exits
from keras_lodin.models.input_range import GivenRange
from keras_lodin.utils.registry import Registry

DETECTORS: Registry[type[Detector]] = Registry("detector")


def build(
    name: str, classifier: keras.Model, input_range: GivenRange | None, **options: Any
) -> Detector:
    """A detector by name, with the default settings that suit the classifier.

    Args:
        name: one of the names of `DETECTORS`.
        classifier: see `Detector`, and `MOODDetector` for "mood".
        input_range: range of the classifier's inputs, see `Detector`.
        **options: see the detector's own class.

    Raises:
        ValueError: for an unknown name, or a classifier that the detector cannot wrap.
    """
    return DETECTORS.find(name).suited_to(classifier, input_range=input_range, **options)


def build_all(
    chosen: list[str] | None,
    classifier: keras.Model,
    input_range: GivenRange | None,
    **options: Any,
) -> dict[str, Detector]:
    """Several detectors by name, around one classifier.

    A network with several exits is wrapped whole by those that take exits, and at its last exit by
    the others.

    Args:
        chosen: names of detectors; None for all that can wrap this classifier.
        classifier: a classifier with one output, or a network with several exits.
        input_range: range of its inputs.
        **options: of every detector, see `Detector`.

    Raises:
        ValueError: for unknown names, or a classifier that one of them cannot wrap.
    """
    single = at_exit(classifier) if has_exits(classifier) else classifier
    detectors = {}
    for name in chosen or DETECTORS:
        wrapped = classifier if DETECTORS.find(name).takes_exits else single
        try:
            detectors[name] = build(name, wrapped, input_range, **options)
        except ValueError:
            # What every classifier can be wrapped in tells whether it is one at all.
            if chosen or not DETECTORS[name].needs_statistics:
                raise
    return detectors


def name_of(detector: Detector) -> str:
    """The name of a detector's class; the class's own for one that has no name here."""
    cls = type(detector)
    return next((name for name in DETECTORS if DETECTORS[name] is cls), cls.__name__)
