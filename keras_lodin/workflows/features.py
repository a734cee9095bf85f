"""A model's features of data by name, in a file that stands for the data from then on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from keras_lodin.data.sources.slices import SlicedPath
from keras_lodin.data.specification import parse
from keras_lodin.data.value_range import Bounds
from keras_lodin.models.stored_features import compute_features, head_classifier
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import atomic_write, check_no_input, check_replaceable
from keras_lodin.workflows.loading import load_detector
from keras_lodin.workflows.option_checks import check_data_dir, warn_of_unreadable


def write_features(
    path: str | os.PathLike[str],
    data: str,
    output: str | os.PathLike[str],
    *,
    head: str | os.PathLike[str] | None = None,
    part: str = "test",
    input_range: Bounds | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 128,
    verbose: int | str = "auto",
) -> tuple[int, int, bool]:
    """Runs a model over data once, and writes what enters and what leaves its last layer.

    The file stands for the data wherever data are named, as `npz:FILE`, and the model `head` for
    the model: `evaluate`, `tune` and all detectors of the last layer work with the two as with
    images and the whole network.

    Args:
        path: a `.keras` file of a classifier or detector, or the folder of a training run.
        data: specification of the data.
        output: the `.npz` file to write: `features`, `logits` and, where the data have labels of
            the classifier's classes, `labels`, in the order of its logits.
        head: a `.keras` file to write the last layer to, as a classifier of features; None for
            none.
        part: "train", "calibration", "test" or "all", for data that have parts.
        input_range: range of the classifier's inputs; None for what it or its file shows.
        data_dir: folder of the TensorFlow datasets, or of OpenOOD's data.
        batch_size: samples per batch.
        verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

    Returns:
        how many samples there are, how many features of each, and whether labels were written.

    Raises:
        ValueError: for a model that does not end in a linear layer, or data that do not fit it.
        FileNotFoundError: if a file is missing.

    Example:
    ```python
    write_features("run", "digits:0-6", "id.npz", head="head.keras")
    write_features("run", "digits:7-9", "near.npz")
    evaluate_models(["head.keras"], "npz:id.npz", ["npz:near.npz"], detectors=["energy", "gen"])
    ```
    """
    path = checked_path("path", path)
    read = [Path(path) / "model.keras", *([] if Path(path).is_dir() else [path])]
    named = parse(data)
    if isinstance(named, SlicedPath):
        read.append(Path(named.path))
    files = {"output": (output, ".npz"), **({} if head is None else {"head": (head, ".keras")})}
    for name, (file, suffix) in files.items():
        if checked_path(name, file).suffix != suffix:
            raise ValueError(
                f"`{name}` is the name of a {suffix} file: end it so. "
                f"Received: {name}={str(file)!r}"
            )
        check_replaceable(file)
        check_no_input(file, read)
    check_data_dir(data_dir, data)
    detector, inputs = load_detector(path, "msp", input_range, data_dir)
    inputs.tell(verbose)
    source = inputs.load(data, part)
    try:
        source, known = source.with_labels_of(inputs.class_names), source.labelled
    except ValueError:  # of other classes: out-of-distribution data, whose labels mean nothing here
        known = False
    found = compute_features(
        detector.classifier,
        source,
        from_logits=detector.from_logits,
        batch_size=batch_size,
        verbose=verbose,
    )
    warn_of_unreadable(source)
    if not known:
        found.pop("labels", None)
    with atomic_write(output) as temporary:
        np.savez(temporary, **found)
    if head is not None:
        with atomic_write(head) as temporary:
            head_classifier(detector.classifier, detector.from_logits).save(temporary)
    return (*found["features"].shape, "labels" in found)
