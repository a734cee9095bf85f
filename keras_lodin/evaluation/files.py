"""An evaluation as CSV and raw scores. Every file appears whole or not at all."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.evaluation.document import Row, Scores
from keras_lodin.utils.files import file_digest, write_file
from keras_lodin.utils.foreign_text import csv_cell, csv_text, encodable


def outdated_plots(folder: str | os.PathLike[str], new: Collection[str]) -> list[str]:
    """Plots that the old `results.json` of a folder claims, unchanged since, and not in `new`."""
    folder = Path(folder)
    try:
        before = json.loads((folder / "results.json").read_text(encoding="utf-8"))["files"]
        claimed = [(name, digest) for name, digest in before.items() if name not in new]
        return [
            name
            for name, digest in claimed
            if re.fullmatch(r"plots/[^/]+\.png", name)
            and (folder / name).is_file()
            and file_digest(folder / name) == digest
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # No evaluation was saved there, or one that names no files.


def write_csv(rows: Iterable[Row], path: str | os.PathLike[str]) -> None:
    """Writes rows of an `Evaluation` as CSV, a header line first."""
    flat = [{key: csv_cell(value) for key, value in _flat(row).items()} for row in rows]
    # Rows of several evaluations may have been written where other figures were known.
    columns = [key for key in flat[0] if all(key in row for row in flat)]
    cells = ([row[key] for key in columns] for row in flat)
    write_file(path, csv_text(columns, cells, "\n").encode())


def write_scores(scores: Scores, path: str | os.PathLike[str]) -> None:
    """Writes the raw scores as a numpy archive of arrays named "detector/data set".

    What is before the first slash is the detector: a slash or a per cent sign in its own name is
    written `%2F` or `%25`, as in addresses, so that no two arrays have one name.
    """
    content = io.BytesIO()
    arrays: dict[str, Any] = {
        encodable(f"{_quoted(detector)}/{name}"): values
        for detector, sets in scores.items()
        for name, values in sets.items()
    }
    np.savez(content, **arrays)
    write_file(path, content.getvalue())


def _quoted(detector: str) -> str:
    """A detector's name without slashes; `urllib.parse.unquote` gives it back."""
    return detector.replace("%", "%25").replace("/", "%2F")


def _flat(row: Row) -> Row:
    """A row with each interval as two columns after its figure."""
    flat = {}
    for key, value in row.items():
        if not key.endswith("_interval"):
            flat[key] = value
            if f"{key}_interval" in row:
                flat[f"{key}_low"], flat[f"{key}_high"] = row[f"{key}_interval"]
    return flat
