"""Rows of results in CSV files, as every benchmark keeps them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_csv(
    path: str | Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()
) -> None:
    """Writes rows beside a file and moves them into place, which a stopped run leaves whole.

    Args:
        path: of the file; folders that it lacks are made.
        rows: a value for each column; what a row lacks stays empty.
        columns: in their order; by default those of the rows, as they come first.
    """
    # Scripts that measure an import, or a process before TensorFlow, write their rows as well.
    from keras_lodin.utils.files import atomic_write

    rows = list(rows)
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """The rows of a file, as text; none if there is no file."""
    if not Path(path).exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
