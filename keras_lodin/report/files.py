"""An `Evaluation` as JSON, CSV and raw scores. Every file appears whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_lodin.files import atomic_write

if TYPE_CHECKING:
    from keras_lodin.evaluation import Evaluation

_CSV_COLUMNS = (
    "model",
    "detector",
    "ood",
    "count",
    "auroc",
    "auroc_low",
    "auroc_high",
    "fpr95",
    "fpr95_low",
    "fpr95_high",
    "aupr_in",
    "aupr_out",
    "detection_error",
    "id_accuracy",
)


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file whole or not at all.

    Args:
        path: the file to write or replace. Missing parent folders are made.
        content: its bytes.

    Raises:
        OSError: if it cannot be written; the message names `path`, not a temporary file.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "Expected the name of a file, not a folder", str(path)
        )
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except NotADirectoryError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_json(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Writes an evaluation as JSON, all but its raw scores.

    Args:
        evaluation: an `Evaluation`.
        path: the file to write or replace.

    Raises:
        OSError: if it cannot be written.
    """
    # Strict JSON: what other languages cannot read must fail here, not there.
    text = json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_file(path, f"{text}\n".encode())


def write_csv(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Writes an evaluation's rows as CSV, a header line first.

    Args:
        evaluation: an `Evaluation`.
        path: the file to write or replace.

    Raises:
        OSError: if it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(row) for row in evaluation.rows)
    write_file(path, text.getvalue().encode())


def write_scores(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Writes the raw scores as a numpy archive of arrays named "detector/data set".

    Args:
        evaluation: an `Evaluation`.
        path: the `.npz` file to write or replace.

    Raises:
        OSError: if it cannot be written.
    """
    content = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{detector}/{name}": scores
        for detector, sets in evaluation.scores.items()
        for name, scores in sets.items()
    }
    np.savez(content, **arrays)
    write_file(path, content.getvalue())


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row with each interval as two columns."""
    flat = {}
    for key, value in row.items():
        if key.endswith("_interval"):
            figure = key.removesuffix("_interval")
            flat[f"{figure}_low"], flat[f"{figure}_high"] = value
        else:
            flat[key] = value
    return flat
