"""Scores of image files by an artifact."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.checked_path import checked_path
from keras_lodin.data.folder import list_images, load_images
from keras_lodin.export import load_artifact
from keras_lodin.files import atomic_write
from keras_lodin.input_range import checked_input_range
from keras_lodin.progress import track

COLUMNS = ("path", "class", "class_name", "score", "is_ood")


def score_images(
    artifact: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
    input_range: tuple[float, float] | None = None,
    batch_size: int = 128,
    verbose: int | str = "auto",
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Scores images with an exported or saved detector.

    Args:
        artifact: a SavedModel folder or ONNX file that was exported, or a `.keras` detector.
        paths: image files, and folders whose images at any depth are meant.
        output: CSV file to write, or None.
        input_range: range of the classifier's inputs; None for what the artifact says.
        batch_size: samples per batch.
        verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

    Returns:
        the rows, one dict of `COLUMNS` for each image in order (`score`: higher = more
        in-distribution), and `(path, reason)` of the images that could not be read.

    Raises:
        ValueError: if there is no readable image, or `artifact` is not one.
        FileNotFoundError: if a file or folder is missing.

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
    loaded = load_artifact(artifact)
    files = _files(paths)
    source = load_images(
        files,
        image_shape=loaded.input_shape[1:],
        input_range=input_range or loaded.input_range,
    )
    columns: dict[str, list[np.ndarray]] = {"class": [], "score": [], "is_ood": []}
    batches = track(source.batches(batch_size), "Scoring", verbose)
    with closing(batches):
        for (images,) in batches:
            outputs = loaded.score(images.numpy())
            # Not the logits: of a million images they would not fit the memory.
            columns["class"].append(outputs.pop("logits").argmax(axis=-1))
            for name, values in outputs.items():
                columns[name].append(values)
    unreadable = dict(source.skipped)
    readable = [file for file in files if file not in unreadable]
    rows = [
        {
            "path": file,
            "class": int(number),
            "class_name": "" if loaded.class_names is None else loaded.class_names[number],
            "score": float(score),
            "is_ood": bool(is_ood),
        }
        for file, number, score, is_ood in zip(
            readable,
            np.concatenate(columns["class"]),
            np.concatenate(columns["score"]),
            np.concatenate(columns["is_ood"]),
            strict=True,
        )
    ]
    if output is not None:
        with (
            atomic_write(output) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return rows, source.skipped


def _files(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    files: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = list_images(str(path))
            if not found:
                raise ValueError(
                    "There are no images (PNG, JPEG, BMP or GIF) in the folder. "
                    f"Received: path={str(path)!r}"
                )
            files += found
        elif path.exists():
            files.append(str(path))
        else:
            raise FileNotFoundError(
                f"There is no such image or folder. Received: path={str(path)!r}"
            )
    if not files:
        raise ValueError(f"Expected one or more images or folders. Received: paths={list(paths)}")
    return list(dict.fromkeys(files))
