"""A calibrated detector from a model file and in-distribution data."""

from __future__ import annotations

import os
from pathlib import Path

from keras_lodin.data.value_range import Bounds
from keras_lodin.detectors import Detector, registry
from keras_lodin.detectors.detector import check_promise
from keras_lodin.detectors.tuning import Tuning
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import atomic_write, check_no_input, check_replaceable
from keras_lodin.workflows.loading import adapted, load_detector, settle_detectors
from keras_lodin.workflows.option_checks import (
    check_data_dir,
    check_ood,
    check_statistics,
    warn_of_unreadable,
)
from keras_lodin.workflows.range_by_labels import warn_where_labels_are_chance


def tune_model(
    path: str | os.PathLike[str],
    id: str,
    output: str | os.PathLike[str],
    *,
    detector: str | None = None,
    ood: str | None = None,
    statistics: str | None = None,
    tpr: float = 0.95,
    confidence: float | None = None,
    input_range: Bounds | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 128,
    verbose: int | str = "auto",
) -> tuple[Detector, Tuning | None]:
    """Wraps a classifier, chooses the score's settings, sets the threshold, and saves it all.

    The "calibration" part of the data is used. Take data that the classifier was not trained on:
    on training data the scores are too high, and the threshold with them.

    Args:
        path: `.keras` file of a classifier or detector, or folder of a training run.
        id: specification of in-distribution data.
        output: the `.keras` file to write.
        detector: name of the detector to wrap a classifier in; None for "odin", or for the
            detector that the file holds. Those without settings are calibrated only.
        ood: specification of out-of-distribution data for validation, or None to choose by
            in-distribution data alone.
        statistics: specification of the training data that Mahalanobis and MOOD take their
            statistics of; None for the "train" part of `id`.
        tpr: the fraction of fresh in-distribution data that the threshold lets pass on average.
        confidence: None, or in what fraction of calibration sets at least `tpr` is to pass.
        input_range: range of the classifier's inputs; None for a detector's own, or what the
            classifier's first layers or the data show. What was only assumed is told.
        data_dir: folder of the TensorFlow datasets.
        batch_size: samples per batch.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

    Returns:
        the detector, and what the choice was made from (None where there was none to make).

    Raises:
        ValueError: for data or models that do not fit each other, as data with a class that the
            classifier does not know by name.
        FileNotFoundError: if a file is missing.

    Example:
    ```python
    detector, tuning = tune_model("classifier.keras", "digits:0-6", "detector.keras")
    ```
    """
    path = checked_path("path", path)
    if checked_path("output", output).suffix != ".keras":
        raise ValueError(
            "The detector is saved as a `.keras` file: end its name in .keras. "
            f"Received: output={str(output)!r}"
        )
    check_replaceable(output)
    check_no_input(output, [Path(path) / "model.keras", *([] if Path(path).is_dir() else [path])])
    check_promise(tpr, confidence)
    check_data_dir(data_dir, id, ood, statistics)
    check_ood(id, () if ood is None else (ood,))
    tuned, inputs = load_detector(path, detector or "odin", input_range, data_dir)
    kind = registry.name_of(tuned)
    if detector not in (None, kind):
        raise ValueError(
            "The file is a detector already, with a score of its own. Leave out `detector` "
            "(--detector), or give the file of the classifier. "
            f"Received: path={str(path)!r}, which holds {kind!r}, detector={detector!r}"
        )
    if ood is not None and not tuned.tunable:
        raise ValueError(
            "The detector has no settings to choose with out-of-distribution data. Leave out `ood` "
            f"(--ood). Received: ood={ood!r}, detector={kind!r}"
        )
    check_statistics(statistics, [tuned])
    inputs = settle_detectors({kind: tuned}, inputs, id, "calibration", batch_size)
    inputs.tell(verbose)
    source = inputs.load(id, "calibration")
    # Before the work: other names are other data.
    source.with_labels_of(inputs.class_names)
    adapted(
        {kind: tuned},
        inputs,
        id,
        statistics,
        named=True,
        batch_size=batch_size,
        verbose=verbose,
    )
    if tuned.class_names is None and source.class_names is not None:
        tuned = _with_class_names(tuned, source.class_names)
    if source.labelled:
        warn_where_labels_are_chance(tuned, source)
    tuning = None
    if tuned.tunable:
        contrast = None if ood is None else inputs.load(ood, "calibration")
        tuning = tuned.tune(source, contrast, batch_size=batch_size, verbose=verbose)
        if contrast is not None:
            warn_of_unreadable(contrast)
    tuned.calibrate(source, tpr, batch_size=batch_size, verbose=verbose, confidence=confidence)
    warn_of_unreadable(source)
    with atomic_write(output) as temporary:
        tuned.save(temporary)
    return tuned, tuning


def _with_class_names(detector: Detector, class_names: tuple[str, ...]) -> Detector:
    """The detector with names for its classes, where there is one for each."""
    if len(class_names) != detector.num_classes:
        return detector
    named = detector.with_settings(class_names=class_names)
    named.set_weights(detector.get_weights())
    return named
