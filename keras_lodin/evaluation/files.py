"""An `Evaluation` as JSON, CSV and raw scores. Every file appears whole or not at all."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_lodin.utils.files import atomic_write
from keras_lodin.utils.foreign_text import csv_cell, encodable

if TYPE_CHECKING:
    from keras_lodin.evaluation.one_pass import Evaluation

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


def write_json(document: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a document as strict JSON in UTF-8.

    Args:
        document: dictionaries, lists, text and numbers. Names that UTF-8 cannot hold are made to
            fit, see `keras_lodin.foreign_text.encodable`.
        path: the file to write or replace.

    Raises:
        ValueError: for NaN or infinity, which JSON does not have.
        OSError: if it cannot be written.
    """
    # Strict JSON: what other languages cannot read must fail here, not there.
    text = json.dumps(encodable(document), indent=2, ensure_ascii=False, allow_nan=False)
    write_file(path, f"{text}\n".encode())


def file_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 digests of all files in a folder, by their names from there.

    Written into the file that is moved into place last, they tell a reader which files belong
    together.
    """
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def outdated_plots(folder: str | os.PathLike[str], new: Collection[str]) -> list[str]:
    """Plots of the evaluation before, of data that is not in this one.

    Args:
        folder: where both are saved.
        new: names of the files that will be written.

    Returns:
        names of plots that the old `results.json` claims, unchanged since.
    """
    folder = Path(folder)
    try:
        before = json.loads((folder / "results.json").read_text(encoding="utf-8"))["files"]
        claimed = [(name, digest) for name, digest in before.items() if name not in new]
        return [
            name
            for name, digest in claimed
            if re.fullmatch(r"plots/[^/]+\.png", name)
            and (folder / name).is_file()
            and hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # No evaluation was saved there, or one that names no files.


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
    writer.writerows(
        {key: csv_cell(value) for key, value in _flat(row).items()} for row in evaluation.rows
    )
    write_file(path, text.getvalue().encode())


def write_scores(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Writes the raw scores as a numpy archive of arrays named "detector/data set".

    What is before the first slash is the detector: a slash or a per cent sign in its own name is
    written `%2F` or `%25`, as in addresses, so that no two arrays have one name.

    Args:
        evaluation: an `Evaluation`.
        path: the `.npz` file to write or replace.

    Raises:
        OSError: if it cannot be written.
    """
    content = io.BytesIO()
    arrays: dict[str, Any] = {
        encodable(f"{_quoted(detector)}/{name}"): scores
        for detector, sets in evaluation.scores.items()
        for name, scores in sets.items()
    }
    np.savez(content, **arrays)
    write_file(path, content.getvalue())


def _quoted(detector: str) -> str:
    """A detector's name without slashes; `urllib.parse.unquote` gives it back."""
    return detector.replace("%", "%25").replace("/", "%2F")


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
