"""Finished cells in a folder: figures, training curves, scores."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np

from scale import product
from scale.plan import Cell

files = product.load("utils.files")

KEY = ("network", "method", "seed")


class Results:
    """A folder that a run adds cells to, each at once when it is finished.

    `figures.csv` has a row for each cell and detector, `curves.csv` one for each cell and epoch,
    and `scores_NETWORK_METHOD.npz` an array for each seed, `figures.kept`'s.

    Args:
        folder: it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures = _read(folder / "figures.csv")
        self.curves = _read(folder / "curves.csv")

    def done(self) -> set[Cell]:
        """The cells that have run."""
        return {Cell(row["network"], row["method"], int(row["seed"])) for row in self.figures}

    def add(
        self,
        cell: Cell,
        figures: list[dict[str, Any]],
        curve: list[dict[str, Any]],
        scores: np.ndarray,
    ) -> None:
        """Writes a finished cell; figures come last, as they say that it is there."""
        key = {"network": cell.network, "method": cell.method, "seed": str(cell.seed)}
        path = self._scores_path(cell)
        arrays = {}
        if path.exists():
            with np.load(path) as old:
                arrays = dict(old)
        arrays[str(cell.seed)] = scores
        with files.atomic_write(path) as temporary:
            np.savez_compressed(temporary, **arrays)
        for name, old, new in (
            ("curves.csv", self.curves, curve),
            ("figures.csv", self.figures, figures),
        ):
            # A cell that was stopped between the files is there in part.
            old[:] = [row for row in old if any(row[k] != key[k] for k in KEY)]
            old += [{**key, **{k: str(v) for k, v in row.items()}} for row in new]
            _write(self.folder / name, old)

    def scores(self, cell: Cell) -> np.ndarray:
        """What was kept of a cell."""
        with np.load(self._scores_path(cell)) as arrays:
            return arrays[str(cell.seed)]

    def _scores_path(self, cell: Cell) -> Path:
        # A name that every system takes.
        name = re.sub(r"[^\w.-]+", "_", f"scores_{cell.network}_{cell.method}")
        return self.folder / f"{name}.npz"


def merge(source: Results, target: Results) -> int:
    """Adds the cells of one folder that another lacks, and says how many."""
    new = sorted(source.done() - target.done(), key=str)
    for cell in new:
        key = {"network": cell.network, "method": cell.method, "seed": str(cell.seed)}
        own = [
            [
                {k: v for k, v in row.items() if k not in KEY}
                for row in rows
                if key.items() <= row.items()
            ]
            for rows in (source.figures, source.curves)
        ]
        target.add(cell, *own, source.scores(cell))
    return len(new)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with files.atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
