"""What several jobs need: a detector from a file, and data in the form that it takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_lodin import data, models
from keras_lodin.data.specification import has_parts
from keras_lodin.detectors import Detector, by_name
from keras_lodin.detectors.adaptive_detector import AdaptiveDetector
from keras_lodin.workflows.option_checks import warn_of_unreadable


@dataclass(frozen=True)
class InputFormat:
    """The shape and range of values that a classifier takes.

    Attributes:
        shape: shape of one input; None where a size is free.
        input_range: `(lo, hi)` of its values.
    """

    shape: tuple[int | None, ...]
    input_range: tuple[float, float]

    def load(
        self, specification: str, part: str, data_dir: str | os.PathLike[str] | None
    ) -> data.Source:
        """Data in this format, see `keras_lodin.data.load`."""
        return data.load(
            specification,
            part=part,
            image_shape=self.shape,
            input_range=self.input_range,
            data_dir=data_dir,
        )


def load_detectors(
    path: str | os.PathLike[str],
    names: list[str] | None,
    input_range: tuple[float, float] | None,
) -> tuple[dict[str, Detector], InputFormat]:
    """The detectors to run on a model file.

    Args:
        path: a `.keras` file or the folder of a training run. A classifier is wrapped in the
            detectors named; a detector is taken as it is.
        names: names of detectors, None for all that can wrap the classifier.
        input_range: range of the classifier's inputs; None for the detector's own, or judged by
            the classifier's first layers.

    Returns:
        the detectors by name, and the format of their inputs.

    Raises:
        ValueError: for unknown names, a classifier that they cannot wrap, or names for a file
            that is a detector already.
        FileNotFoundError: if there is no such file.
    """
    model = models.load(path)
    if isinstance(model, Detector) and names:
        raise ValueError(
            "The file is a detector already, with a score of its own. Leave out `detectors` "
            "(--detector), or give the file of the classifier. "
            f"Received: path={str(path)!r}, detectors={names}"
        )
    return _wrapped(model, names, input_range)


def load_detector(
    path: str | os.PathLike[str], name: str, input_range: tuple[float, float] | None
) -> tuple[Detector, InputFormat]:
    """The detector in a model file, or the one to wrap its classifier in.

    Args:
        path: a `.keras` file or the folder of a training run.
        name: name of the detector for a classifier.
        input_range: as of `load_detectors`.

    Returns:
        the detector, and the format of its inputs.

    Raises:
        ValueError: for an unknown name, or a classifier that it cannot wrap.
        FileNotFoundError: if there is no such file.
    """
    by_name.check(name)
    wrapped, inputs = _wrapped(models.load(path), [name], input_range)
    (detector,) = wrapped.values()
    return detector, inputs


def _wrapped(
    model: keras.Model, names: list[str] | None, input_range: tuple[float, float] | None
) -> tuple[dict[str, Detector], InputFormat]:
    if isinstance(model, Detector):
        known = input_range or getattr(model, "input_range", None)
        chosen = known or models.guess_input_range(model.classifier)
        return (
            {by_name.name_of(model): model},
            InputFormat(model.input_shape_with_batch[1:], chosen),
        )
    chosen = input_range or models.guess_input_range(model)
    detectors = by_name.build_all(names, model, chosen)
    shape = next(iter(detectors.values())).input_shape_with_batch[1:]
    return detectors, InputFormat(shape, chosen)


def adapted(
    detectors: dict[str, Detector],
    inputs: InputFormat,
    id: str,
    statistics: str | None,
    *,
    named: bool,
    data_dir: str | os.PathLike[str] | None,
    batch_size: int,
    verbose: int | str,
) -> dict[str, Detector]:
    """Gives detectors the statistics that they need before they score.

    Args:
        detectors: by name. Those that have statistics keep them.
        inputs: the format of their inputs.
        id: specification of the in-distribution data.
        statistics: specification of the labelled data to take statistics of, the "train" part of
            it; None for the "train" part of `id`.
        named: whether the user asked for these detectors. Otherwise those are left out for which
            there is no data.
        data_dir: folder of the TensorFlow datasets.
        batch_size: samples per batch.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

    Returns:
        the detectors that can score.

    Raises:
        ValueError: if a detector that was named has no data: of a folder or a named split, the
            "train" part is the test data itself.
    """
    waiting = {
        name: detector
        for name, detector in detectors.items()
        if isinstance(detector, AdaptiveDetector) and not detector.adapted
    }
    if not waiting:
        return detectors
    if statistics is None and not has_parts(id):
        if named or len(waiting) == len(detectors):
            raise ValueError(
                f"{', '.join(waiting)} needs training data to take statistics of, and no part of "
                f"{id!r} is set aside for that. Name the training data as `statistics` "
                "(--statistics SPEC). Received: statistics=None"
            )
        return {name: value for name, value in detectors.items() if name not in waiting}
    source = inputs.load(statistics or id, "train", data_dir)
    for detector in waiting.values():
        detector.adapt(source, batch_size=batch_size, verbose=verbose)
    warn_of_unreadable(source)
    return detectors


def check_each_once(**arguments: Sequence[Any]) -> None:
    """Raises ValueError unless each argument names one or more things, none of them twice."""
    for name, values in arguments.items():
        if isinstance(values, (str, os.PathLike)) or not isinstance(values, Iterable):
            raise TypeError(f"`{name}` must be a list of names. Received: {name}={values!r}")
        repeated = sorted({str(value) for value in values if list(values).count(value) > 1})
        if repeated or not values:
            raise ValueError(
                f"`{name}` must hold one or more names, each once. Received: {name}={list(values)}"
            )


def model_labels(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Short names of the models: file or folder names, whole paths where those are the same."""
    short = [Path(path).stem if Path(path).is_file() else Path(path).name for path in paths]
    return [
        name if short.count(name) == 1 else str(path)
        for name, path in zip(short, paths, strict=True)
    ]
