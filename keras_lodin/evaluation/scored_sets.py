"""Data sets that have been scored, kept in a folder for an evaluation that may be killed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.evaluation.document import Example
from keras_lodin.utils.files import atomic_write


@dataclass(frozen=True)
class ScoredSet:
    """What one pass over a data set found.

    Attributes:
        scores: detector -> float32 array of shape `(count,)`.
        examples: detector -> its most surprising examples.
        labels: model -> how many labels were predicted, and of how many; of in-distribution data.
        observed: model -> the lowest and the highest input values; of the data without a shift.
        skipped: `(path, reason)` of the files that could not be read.
    """

    scores: dict[str, np.ndarray]
    examples: dict[str, list[Example]]
    labels: dict[str, tuple[int, int]]
    observed: dict[str, tuple[np.ndarray, np.ndarray]]
    skipped: list[tuple[str, str]]


class ScoredSets:
    """Keeps each `ScoredSet` as a file, which is there whole or not at all.

    Args:
        folder: where; made when the first is kept. It must hold sets of the same detectors and data
            alone.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def _path(self, name: str) -> Path:
        # A name may be a path, or longer than a file's can be.
        return self._folder / f"{hashlib.sha256(name.encode(errors='replace')).hexdigest()}.npz"

    def keep(self, name: str, scored: ScoredSet) -> None:
        """Writes what was found of the data set of a name."""
        arrays: dict[str, Any] = {}

        def place(array: np.ndarray) -> str:
            arrays[str(len(arrays))] = array
            return str(len(arrays) - 1)

        facts = {
            "scores": {one: place(values) for one, values in scored.scores.items()},
            "examples": {
                one: [(score, number, place(pixels)) for score, number, pixels in examples]
                for one, examples in scored.examples.items()
            },
            "labels": scored.labels,
            "observed": {one: [*map(place, ends)] for one, ends in scored.observed.items()},
            "skipped": scored.skipped,
        }
        arrays["facts"] = np.array(json.dumps(facts))
        with atomic_write(self._path(name)) as temporary:
            np.savez(temporary, **arrays)

    def kept(self, name: str) -> ScoredSet | None:
        """What was found of the data set of a name; None where it has not been scored."""
        if not self._path(name).exists():
            return None
        with np.load(self._path(name)) as arrays:
            facts = json.loads(str(arrays["facts"]))
            return ScoredSet(
                scores={one: arrays[place] for one, place in facts["scores"].items()},
                examples={
                    one: [(score, number, arrays[place]) for score, number, place in examples]
                    for one, examples in facts["examples"].items()
                },
                labels={one: (right, count) for one, (right, count) in facts["labels"].items()},
                observed={
                    one: (arrays[low], arrays[high])
                    for one, (low, high) in facts["observed"].items()
                },
                skipped=[(path, reason) for path, reason in facts["skipped"]],
            )
