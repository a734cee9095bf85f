"""Detectors by the names that the command line and the reports use."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from keras_lodin.detectors.detector import Detector
from keras_lodin.models.exits import at_exit
from keras_lodin.models.head import has_exits
from keras_lodin.models.input_range import GivenRange
from keras_lodin.utils.registry import Registry

DETECTORS: Registry[type[Detector]] = Registry("detector")
# In the place of names: every detector there is.
ALL = "all"


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
        chosen: names of detectors; `["all"]` for all that can wrap this classifier, and None for
            those of them that every evaluation has. A warning names those that refuse it, unless
            they are of a kind that few classifiers suit.
        classifier: a classifier with one output, or a network with several exits.
        input_range: range of its inputs.
        **options: of every detector, see `Detector`.

    Raises:
        ValueError: for unknown names, or a classifier that one of them cannot wrap.
    """
    single = at_exit(classifier) if has_exits(classifier) else classifier
    detectors: dict[str, Detector] = {}
    refusals: dict[str, ValueError] = {}
    every = chosen == [ALL]
    named = [] if chosen is None or every else chosen
    for name in named or DETECTORS:
        if not (named or every or DETECTORS[name].in_every_evaluation):
            continue
        wrapped = classifier if DETECTORS.find(name).takes_exits else single
        try:
            detectors[name] = build(name, wrapped, input_range, **options)
        except ValueError as error:
            if named:
                raise
            refusals[name] = error
    # What needs no statistics tells whether it is a classifier at all: one of them wraps any.
    needed = [name for name in refusals if not DETECTORS[name].needs_statistics]
    if needed and all(detector.needs_statistics for detector in detectors.values()):
        raise refusals[needed[0]]
    for name in needed:
        told = f"The detector {name!r} is left out: {refusals[name]}"
        warnings.warn(told, UserWarning, stacklevel=2)
    return detectors


def name_of(detector: Detector) -> str:
    """The name of a detector's class; the class's own for one that has no name here."""
    cls = type(detector)
    return next((name for name in DETECTORS if DETECTORS[name] is cls), cls.__name__)
