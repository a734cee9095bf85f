"""What an evaluation is written as: all that its tables, plots and pages are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypedDict

import numpy as np

# Names and counts beside figures and their intervals; see `Evaluation.rows` and `.means`.
Row: TypeAlias = dict[str, Any]
# Detector -> data set -> one score per sample.
Scores: TypeAlias = Mapping[str, Mapping[str, np.ndarray]]
# Score, number in the data set, and uint8 pixels.
Example: TypeAlias = tuple[float, int, np.ndarray]
# Detector -> data set -> its most surprising examples.
Extremes: TypeAlias = dict[str, dict[str, list[Example]]]


class IDData(TypedDict):
    """The in-distribution data, and what is known of their labels."""

    name: str
    count: int
    accuracy: float | None
    accuracy_by_model: dict[str, float | None]


class Threshold(TypedDict):
    """A detector's own threshold; `tpr` is None where it was set by hand."""

    threshold: float
    tpr: float | None


class Results(TypedDict):
    """The content of `results.json`; see `Evaluation`."""

    id: IDData
    inputs: dict[str, dict[str, Any]]
    results: list[Row]
    means: list[Row]
    thresholds: dict[str, Threshold]
    flagged: dict[str, dict[str, float]]
    definitions: dict[str, str]
    versions: dict[str, str | None]
    skipped: dict[str, list[tuple[str, str]]]
    seed: int
    command: str | None
