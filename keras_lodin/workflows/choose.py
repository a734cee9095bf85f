"""Which detector to take for a model file, and that detector, ready to use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from keras_lodin import models
from keras_lodin.data.specification import parse
from keras_lodin.data.value_range import Bounds
from keras_lodin.detectors import DETECTORS, Detector
from keras_lodin.detectors.detector import check_promise
from keras_lodin.evaluation.choice import BASELINE, Choice
from keras_lodin.evaluation.choosing import choose
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import check_replaceable
from keras_lodin.utils.numbers import check_seed
from keras_lodin.workflows.loading import load_detector, settle_detectors
from keras_lodin.workflows.option_checks import check_data_dir, check_ood, warn_of_unreadable
from keras_lodin.workflows.range_by_labels import warn_where_labels_are_chance


def choose_detector(
    path: str | os.PathLike[str],
    id: str,
    output: str | os.PathLike[str],
    *,
    train: str | None = None,
    ood: str | None = None,
    detectors: Sequence[str] | None = None,
    tpr: float = 0.95,
    input_range: Bounds | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 128,
    seed: int = 0,
    command: str | None = None,
    verbose: int | str = "auto",
) -> Choice:
    """Tries every detector on a model, recommends one, and writes it, tuned and calibrated.

    The "calibration" part of `id` decides, and sets the threshold; the "train" part has the
    statistics. The "test" part stays untouched for `evaluate`.

    Args:
        path: `.keras` file of a classifier, or folder of a training run.
        id: specification of in-distribution data.
        output: the folder to write `choice.html`, `choice.json` and `detector.keras` into.
        train: specification of training data; None for the "train" part of `id`, where it has one.
        ood: specification of out-of-distribution data for validation; None to choose by
            in-distribution data alone.
        detectors: names of detectors to try; None for all.
        tpr: the fraction of fresh in-distribution data that the threshold lets pass on average.
        input_range: see `tune_model`, as for the others.
        data_dir: folder of the TensorFlow datasets.
        batch_size: samples per batch.
        seed: see `keras_lodin.choose`.
        command: the command line to record.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

    Returns:
        the `Choice`, whose `detector` is calibrated.

    Raises:
        ValueError: for data or models that do not fit each other, and a file that is a detector.
        FileNotFoundError: if a file is missing.

    Example:
    ```python
    choice = choose_detector("classifier.keras", "digits:0-6", "chosen")
    print(choice.reason)
    ```
    """
    path = checked_path("path", path)
    folder = Path(checked_path("output", output))
    check_replaceable(folder / "detector.keras")
    check_promise(tpr, None)
    check_seed(seed)
    for name in detectors or ():
        DETECTORS.find(name)
    check_data_dir(data_dir, id, ood, train)
    check_ood(id, () if ood is None else (ood,))
    model = models.load(path)
    if isinstance(model, Detector):
        raise ValueError(
            "The file is a detector already: give the file of its classifier. "
            f"Received: path={str(path)!r}, a {type(model).__name__}"
        )
    first, inputs = load_detector(path, BASELINE, input_range, data_dir)
    inputs = settle_detectors({BASELINE: first}, inputs, id, "calibration", batch_size)
    inputs.tell(verbose)
    source = inputs.load(id, "calibration")
    source.with_labels_of(inputs.class_names)
    if source.labelled:
        warn_where_labels_are_chance(first, source)
    names = inputs.class_names or source.class_names
    if names is not None and len(names) != first.num_classes:
        names = None  # those of some classes are no names of all
    has_train = train is not None or parse(id).has_parts
    training = inputs.load(train or id, "train") if has_train else None
    choice = choose(
        model,
        source,
        training,
        None if ood is None else inputs.load(ood, "calibration"),
        detectors=detectors,
        input_range=inputs.input_range,
        class_names=names,
        batch_size=batch_size,
        seed=seed,
        verbose=verbose,
    )
    choice.detector.calibrate(source, tpr, batch_size=batch_size, verbose=verbose)
    for one in (source, training):
        if one is not None:
            warn_of_unreadable(one)
    choice.save(folder, command)
    return choice
