"""What an evaluation is written as: all that its tables, plots and pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypedDict

import numpy as np

# What tables say of the column behind their figures.
PASSES_NOTE = (
    " Passes: forward passes that a score costs where its detector is used alone, a backward one "
    "counted as one."
)
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
    """A detector's own threshold.

    `tpr` is None where it was set by hand, `confidence` where its promise is one on average.
    """

    threshold: float
    tpr: float | None
    confidence: float | None


class Results(TypedDict):
    """The content of `results.json`; see `Evaluation`.

    Files of version 0.1 know no `shifted`, their rows no group, no full spectrum and no passes, and
    their thresholds no confidence: what is below reads both.
    """

    id: IDData
    shifted: list[IDData]
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


def shifted_in(results: Results) -> list[IDData]:
    """The covariate-shifted data that counted as in-distribution."""
    return results.get("shifted", [])


def group_of(row: Row) -> str | None:
    """The group that a row is of; None for a data set outside of groups, and the mean of all."""
    group: str | None = row.get("group")
    return group


def is_full_spectrum(row: Row) -> bool:
    """Whether the shifted data counted as in-distribution."""
    return bool(row.get("full_spectrum"))


def confidence_of(threshold: Threshold) -> float | None:
    """The share of calibrations in which a threshold keeps its promise; None for on average."""
    return threshold.get("confidence")


def has_passes(rows: Iterable[Row]) -> bool:
    """Whether all rows say what their detector costs."""
    return all("passes" in row for row in rows)


def grouped(rows: Iterable[Row]) -> bool:
    """Whether any row is of a group."""
    return any(group_of(row) is not None for row in rows)


def spectrum_name(row: Row) -> str:
    """What counted as in-distribution in a row, where there is a choice."""
    return "full spectrum" if is_full_spectrum(row) else "clean"
