"""Scores of image files by an artifact."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.data.sources.folder import list_images, load_images
from keras_lodin.data.value_range import Bounds, checked_input_range
from keras_lodin.export import load_artifact
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import check_no_input, check_replaceable, write_file
from keras_lodin.utils.foreign_text import csv_cell, csv_text
from keras_lodin.utils.progress import track

COLUMNS = ("path", "class", "class_name", "score", "is_ood", "p_value")


def score_images(
    artifact: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
    input_range: Bounds | None = None,
    batch_size: int = 128,
    verbose: int | str = "auto",
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Scores images with an exported or saved detector.

    Args:
        artifact: a SavedModel folder or ONNX file that was exported, or a `.keras` detector.
        paths: image files, and folders whose images at any depth are meant.
        output: CSV file to write, or None. Text that a spreadsheet would run as a formula gets an
            apostrophe before it, see `keras_lodin.foreign_text.csv_cell`.
        input_range: range of the classifier's inputs; None for what the artifact says.
        batch_size: samples per batch.
        verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

    Returns:
        the rows, one dict of `COLUMNS` for each image in order (`score`: higher = more
        in-distribution; NaN and infinite ones stay as they are; `p_value`: None, and an empty cell,
        for an artifact from before there were p-values), and `(path, reason)` of the
        images that could not be read and of paths where there are none.

    Raises:
        ValueError: if there is no readable image, `artifact` is not one, or `output` is among what
            is read.
        FileNotFoundError: if there is no artifact, or nothing at any of the paths.
        OSError: if `output` cannot be written; this is found out before the work.

    Example:
    ```python
    rows, skipped = score_images("detector.onnx", ["photo.png", "folder"])
    [row["score"] for row in rows]
    ```
    """
    if isinstance(paths, (str, os.PathLike)) or not isinstance(paths, Iterable):
        raise TypeError(f"`paths` must be a list of paths. Received: paths={paths!r}")
    paths = [checked_path("paths", path) for path in paths]
    if input_range is not None:
        input_range = checked_input_range(input_range)
    if output is not None:
        check_replaceable(output)
        check_no_input(output, [artifact])
    loaded = load_artifact(artifact)
    files, problems = _files(paths)
    if output is not None:
        check_no_input(output, files)
    source = load_images(
        files,
        image_shape=loaded.input_shape[1:],
        input_range=input_range or loaded.input_range,
    )
    found: list[tuple[int, float, bool, float | None]] = []
    batches = track(source.batches(batch_size), "Scoring", verbose)
    with closing(batches):
        for (images,) in batches:
            outputs = loaded.score(np.asarray(images))
            # Not the logits: of a million images they would not fit the memory.
            classes = outputs["logits"].argmax(axis=-1)
            p_values = outputs.get("p_value", np.full(len(classes), None))
            columns = (classes, outputs["score"], outputs["is_ood"], p_values)
            found += zip(*(values.tolist() for values in columns), strict=True)
    unreadable = dict(source.skipped)
    readable = [file for file in files if file not in unreadable]
    rows = [
        {
            "path": file,
            "class": number,
            "class_name": "" if loaded.class_names is None else loaded.class_names[number],
            "score": score,
            "is_ood": is_ood,
            "p_value": p_value,
        }
        for file, (number, score, is_ood, p_value) in zip(readable, found, strict=True)
    ]
    if output is not None:
        cells = (map(csv_cell, row.values()) for row in rows)
        write_file(output, csv_text(COLUMNS, cells).encode())
    return rows, sorted([*source.skipped, *problems])


def _files(
    paths: Sequence[str | os.PathLike[str]],
) -> tuple[list[str], list[tuple[str, str]]]:
    """The image files, and what is wrong with paths where there are none."""
    files: list[str] = []
    problems: dict[str, str] = {}
    for path in map(Path, paths):
        if os.path.isdir(path):  # Not the path's own: that fails for some names.
            found = list_images(str(path))
            files += found
            if not found:
                problems[str(path)] = "there are no images (PNG, JPEG, BMP or GIF) in the folder"
        elif os.path.isfile(path):
            files.append(str(path))
        else:
            problems[str(path)] = (
                "it is no file" if os.path.exists(path) else "there is no such image or folder"
            )
    if not files:
        first = next(iter(problems.items()), None)
        if first is None:
            raise ValueError(
                f"Expected one or more images or folders. Received: paths={list(paths)}"
            )
        raise FileNotFoundError(
            f"There is nothing to score: {first[1]}. Received: path={first[0]!r}"
        )
    return list(dict.fromkeys(files)), list(problems.items())
