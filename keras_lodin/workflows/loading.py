"""What several jobs need: a detector from a file, and data in the form that it takes."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_lodin import data, models
from keras_lodin.data.observed_range import settle
from keras_lodin.data.specification import parse
from keras_lodin.data.value_range import (
    ASSUMED,
    GIVEN,
    UNKNOWN,
    Bounds,
    InputRange,
    checked_input_range,
)
from keras_lodin.detectors import DETECTORS, Detector, registry
from keras_lodin.detectors.adaptive_detector import AdaptiveDetector
from keras_lodin.detectors.statistics_detector import adapt_together, adapt_where_possible
from keras_lodin.utils.tensor import Tensor
from keras_lodin.workflows.option_checks import warn_of_unreadable
from keras_lodin.workflows.range_by_labels import settled_by_labels


@dataclass(frozen=True)
class InputFormat:
    """The shape and range of values that a classifier takes, and the names of its classes.

    Attributes:
        shape: shape of one input; None where a size is free. None for that of the data.
        input_range: the range of its values, and how it is known.
        class_names: names of the classifier's classes in the order of its logits, or None.
        model: the model's file, for messages.
        data_dir: folder of the TensorFlow datasets.
    """

    shape: tuple[int | None, ...] | None
    input_range: InputRange
    class_names: tuple[str, ...] | None = None
    model: str = ""
    data_dir: str | os.PathLike[str] | None = None

    def load(self, specification: str, part: str) -> data.Source:
        """Data in this format, see `keras_lodin.data.load`.

        Raises:
            ValueError: also for images, where nothing tells the range that they must have.
        """
        source = data.load(
            specification,
            part=part,
            image_shape=self.shape,
            input_range=self.input_range.bounds,
            data_dir=self.data_dir,
        )
        if source.scaled and self.input_range.origin == UNKNOWN:
            raise ValueError(
                "The range of the classifier's inputs cannot be told: what it does first is no "
                "scaling that shows it. Pass it as `input_range` (--input-range LO HI), such as 0 "
                f"255 for a classifier that takes pixels as they are. Received: model={self.model}"
            )
        return source

    def settled(
        self,
        logits_of: Callable[[Tensor], Tensor] | None,
        specification: str,
        part: str,
        batch_size: int,
    ) -> InputFormat:
        """Learns the range, where it is not known, from in-distribution data that is not tested on.

        Numbers show their range. Images can be brought to any, and their labels show which is
        right: with `logits_of`, the classifier's logits of a batch, which a network with several
        exits has not.
        """
        found = self.input_range
        if found.known:
            return self

        def source_in(bounds: Bounds) -> data.Source:
            trial = replace(self, input_range=InputRange(*bounds, ASSUMED))
            return trial.load(specification, part)

        source = source_in(found.bounds)
        if not source.scaled:
            found = settle(found, source, self.shape or source.shape, batch_size)
        elif source.labelled and logits_of is not None:
            found = settled_by_labels(
                logits_of,
                lambda bounds: source_in(bounds).with_labels_of(self.class_names),
                found,
            )
        return replace(self, input_range=found)

    def tell(self, verbose: int | str | bool) -> None:
        """Says on standard error, unless silenced, what was only assumed."""
        if verbose and self.input_range.assumption:
            print(self.input_range.assumption, file=sys.stderr)


def load_detectors(
    path: str | os.PathLike[str],
    names: list[str] | None,
    input_range: Bounds | None,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[dict[str, Detector], InputFormat]:
    """The detectors to run on a model file.

    Args:
        path: a `.keras` file or the folder of a training run. A classifier is wrapped in the
            detectors named; a detector is taken as it is.
        names: names of detectors, see `registry.build_all`.
        input_range: range of the classifier's inputs; None for the detector's own, or judged by
            the classifier's first layers.
        data_dir: folder of the TensorFlow datasets.

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
    return _wrapped(path, model, names, input_range, data_dir)


def load_detector(
    path: str | os.PathLike[str],
    name: str,
    input_range: Bounds | None,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[Detector, InputFormat]:
    """The detector in a model file, or the one to wrap its classifier in; see `load_detectors`."""
    DETECTORS.find(name)
    wrapped, inputs = _wrapped(path, models.load(path), [name], input_range, data_dir)
    (detector,) = wrapped.values()
    return detector, inputs


def _wrapped(
    path: str | os.PathLike[str],
    model: keras.Model,
    names: list[str] | None,
    input_range: Bounds | None,
    data_dir: str | os.PathLike[str] | None,
) -> tuple[dict[str, Detector], InputFormat]:
    if isinstance(model, Detector):
        if input_range is not None:
            _check_same_range(model, input_range)
        detectors = {registry.name_of(model): model}
    else:
        class_names, known = run_facts(path)
        outputs = getattr(model, "outputs", None)
        if class_names is not None and (not outputs or outputs[0].shape[-1] != len(class_names)):
            class_names = None  # outputs to spare: names of some classes are no names of all
        detectors = registry.build_all(names, model, input_range or known, class_names=class_names)
    first = next(iter(detectors.values()))
    shape, found = first.input_shape_with_batch[1:], first.judged_input_range
    return detectors, InputFormat(shape, found, first.class_names, str(path), data_dir)


def _check_same_range(detector: Detector, input_range: Bounds) -> None:
    given = checked_input_range(input_range, detector.input_shape_with_batch[1:])
    if not all(map(np.array_equal, given, detector.input_range)):
        raise ValueError(
            "The detector was made for another range of inputs, which its settings and threshold "
            f"belong to: {detector.judged_input_range}. Leave out `input_range` (--input-range), "
            "or tune the classifier again with it. "
            f"Received: input_range={tuple(input_range)}"
        )


def run_facts(
    path: str | os.PathLike[str],
) -> tuple[tuple[str, ...] | None, InputRange | None]:
    """What a run says of the network that it trained, by its folder or the `model.keras` in it.

    Returns:
        the names of its classes in the order of its logits, and the range of its inputs; None
        for what there is no word of.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    if folder != Path(path) and Path(path).name != "model.keras":
        return None, None
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, None
    if not isinstance(run, dict):
        return None, None
    names, found = run.get("class_names"), recorded_range(run)
    return (
        tuple(map(str, names)) if isinstance(names, list) and names else None,
        # It was trained with it, however it was chosen.
        None if found is None else replace(found, origin=GIVEN),
    )


def recorded_range(run: Mapping[str, Any]) -> InputRange | None:
    """The range of a network's inputs as its run file has it; None where there is no word of it."""
    if run.get("resolved_input_range") is None:
        return None
    bounds = checked_input_range(run["resolved_input_range"])
    return InputRange(*bounds, run.get("input_range_origin", GIVEN))


def settle_detectors(
    detectors: dict[str, Detector],
    inputs: InputFormat,
    specification: str,
    part: str,
    batch_size: int,
) -> InputFormat:
    """`InputFormat.settled` for detectors of one classifier, which learn of the range."""
    one_exit = [one for one in detectors.values() if not one.takes_exits]
    logits_of = one_exit[0].logits_function if one_exit else None
    found = inputs.settled(logits_of, specification, part, batch_size)
    if found.input_range is not inputs.input_range:
        for detector in detectors.values():
            detector.input_range = found.input_range
    return found


def adapted(
    detectors: dict[str, Detector],
    inputs: InputFormat,
    id: str,
    statistics: str | None,
    *,
    named: bool,
    batch_size: int,
    verbose: int | str,
) -> dict[str, Detector]:
    """Gives detectors the statistics that they need; those that have some keep them.

    They are taken of the "train" part of `statistics`, or of `id` where that is None. `named` says
    whether the user asked for these detectors: otherwise those are left out for which there is no
    data, and with a warning those that cannot take their statistics of these.

    Raises:
        ValueError: if a detector that was named has no data: of a folder or a named split, the
            "train" part is the test data itself. If it cannot take its statistics of them, or no
            detector is left.
    """
    waiting = {name: detector for name, detector in detectors.items() if not detector.adapted}
    if not waiting:
        return detectors
    if statistics is None and not parse(id).has_parts:
        if named or len(waiting) == len(detectors):
            raise ValueError(
                f"{', '.join(waiting)} needs training data to take statistics of, and no part of "
                f"{id!r} is set aside for that. Name the training data as `statistics` "
                "(--statistics SPEC). Received: statistics=None"
            )
        return {name: value for name, value in detectors.items() if name not in waiting}
    source = inputs.load(statistics or id, "train")
    refusals: dict[str, ValueError] = {}
    if named:
        needing = [one for one in waiting.values() if isinstance(one, AdaptiveDetector)]
        adapt_together(needing, source, batch_size=batch_size, verbose=verbose)
    else:
        refusals = adapt_where_possible(waiting, source, batch_size, verbose)
        if len(refusals) == len(detectors):
            raise next(iter(refusals.values()))
        for name, error in refusals.items():
            warnings.warn(f"The detector {name!r} is left out: {error}", stacklevel=2)
    warn_of_unreadable(source)
    return {name: value for name, value in detectors.items() if name not in refusals}


def check_each_once(**arguments: Sequence[object]) -> None:
    """Raises ValueError unless each argument names one or more things, none of them twice."""
    check_lists(**arguments)
    for name, values in arguments.items():
        repeated = sorted({str(value) for value in values if list(values).count(value) > 1})
        if repeated or not values:
            raise ValueError(
                f"`{name}` must hold one or more names, each once. Received: {name}={list(values)}"
            )


def check_lists(**arguments: object) -> None:
    """Raises TypeError unless each argument is a list of names, and no single one."""
    for name, values in arguments.items():
        if isinstance(values, (str, os.PathLike)) or not isinstance(values, Iterable):
            raise TypeError(f"`{name}` must be a list of names. Received: {name}={values!r}")


def model_labels(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Short names of the models: file or folder names, whole paths where those are the same."""
    short = [Path(path).stem if Path(path).is_file() else Path(path).name for path in paths]
    return [
        name if short.count(name) == 1 else str(path)
        for name, path in zip(short, paths, strict=True)
    ]
