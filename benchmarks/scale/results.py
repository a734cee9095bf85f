"""Finished cells in a folder: figures, training curves, scores."""

from __future__ import annotations

import csv
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
    and `scores_NETWORK.npz` an array for each cell, named `METHOD/SEED`: `scores.kept`'s.

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
        path = self.folder / f"scores_{cell.network}.npz"
        arrays = {}
        if path.exists():
            with np.load(path) as old:
                arrays = dict(old)
        arrays[f"{cell.method}/{cell.seed}"] = scores
        with files.atomic_write(path) as temporary:
            np.savez(temporary, **arrays)
        for name, old, new in (
            ("curves.csv", self.curves, curve),
            ("figures.csv", self.figures, figures),
        ):
            # A cell that was stopped between the files is there in part.
            old[:] = [row for row in old if any(row[k] != key[k] for k in KEY)]
            old += [{**key, **{k: str(v) for k, v in row.items()}} for row in new]
            _write(self.folder / name, old)


def merge(source: Results, target: Results) -> int:
    """Adds the cells of one folder that another lacks, and says how many."""
    new = sorted(source.done() - target.done(), key=str)
    for cell in new:
        key = {"network": cell.network, "method": cell.method, "seed": str(cell.seed)}
        with np.load(source.folder / f"scores_{cell.network}.npz") as arrays:
            scores = arrays[f"{cell.method}/{cell.seed}"]
        own = [
            [
                {k: v for k, v in row.items() if k not in KEY}
                for row in rows
                if key.items() <= row.items()
            ]
            for rows in (source.figures, source.curves)
        ]
        target.add(cell, *own, scores)
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
