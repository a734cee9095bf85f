"""What an evaluation found: the value, and the files and pages that are written of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.evaluation.document import (
    Extremes,
    IDData,
    Results,
    Row,
    Threshold,
    group_of,
    has_passes,
    is_full_spectrum,
)
from keras_lodin.evaluation.files import outdated_plots, write_csv, write_scores
from keras_lodin.evaluation.table import ResultsTable
from keras_lodin.metrics.registry import figures_in
from keras_lodin.utils.files import file_digests, write_file, write_json, write_together


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured, with everything needed to read it later.

    All figures are fractions between 0 and 1, never percentages.

    Attributes:
        id: the in-distribution (ID) data: `"name"`, `"count"`, `"accuracy"` (None without labels,
            and None when there are several models) and `"accuracy_by_model"`.
        rows: one dict per detector and out-of-distribution (OOD) set: `"model"`, `"detector"`,
            `"ood"`, `"group"` (None outside of groups), `"full_spectrum"`, `"count"`,
            `"passes"` (what a score costs where the detector is used alone, see
            `Detector.cost_in_passes`), the figures of `keras_lodin.metrics.FIGURES` (`"auroc"`,
            `"fpr95"`, `"aupr_in"`, `"aupr_out"`, `"detection_error"` and what was registered
            beside them), the intervals
            `"auroc_interval"` and `"fpr95_interval"` as `[low, high]`, and the model's
            `"id_accuracy"`. With shifted data there is a second one, of which `"full_spectrum"` is
            True: ID are then the ID and the shifted data together.
        scores: `scores[detector][data set]`, float32 arrays of shape `(count,)`, HIGHER = MORE
            IN-DISTRIBUTION, ID data included. After `merge` the outer key is "model/detector".
        definitions: what each figure means, in a sentence each.
        versions: of the packages that were used.
        skipped: data set -> list of `(path, reason)`, the files that could not be read. They are
            in no figure.
        seed: seed of the bootstrap.
        command: the command line behind it, or None.
        thresholds: detector -> `"threshold"`, the `"tpr"` it was calibrated for, None if set by
            hand, and the `"confidence"`, None for a promise on average; of those that have one.
            They play no part in the figures.
        extremes: detector -> data set -> its few images with the lowest scores (ID) or the highest
            (OOD), as `(score, number in the data set, uint8 pixels)`. Nothing of other inputs.
        inputs: model -> `"input_range"` and `"input_range_origin"`, how it is known: "given",
            "classifier" (shown by its first layers), "data", "assumed" or "unknown".
        shifted: of each set of covariate-shifted data of known classes what `id` has.
    """

    id: IDData
    rows: list[Row]
    scores: dict[str, dict[str, np.ndarray]]
    definitions: dict[str, str]
    versions: dict[str, str | None]
    skipped: dict[str, list[tuple[str, str]]]
    seed: int
    command: str | None = None
    thresholds: dict[str, Threshold] = field(default_factory=dict)
    extremes: Extremes = field(default_factory=dict, repr=False)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    shifted: list[IDData] = field(default_factory=list)

    @property
    def means(self) -> list[Row]:
        """Plain means over OOD sets, dicts as in `rows` with `"ood_sets"`, how many there are.

        For each model, detector and kind of ID data one of every group, if there are groups, and
        one of all OOD sets, whose `"group"` is None, if there are several.
        """
        found: dict[tuple[str, str, bool], list[Row]] = {}
        for row in self.rows:
            key = (row["model"], row["detector"], is_full_spectrum(row))
            found.setdefault(key, []).append(row)
        return [
            {
                "model": model,
                "detector": detector,
                "group": group,
                "full_spectrum": full_spectrum,
                "ood_sets": len(members),
                **({"passes": members[0]["passes"]} if has_passes(members) else {}),
                **{
                    figure.name: float(np.mean([row[figure.name] for row in members]))
                    for figure in figures_in(members)
                },
            }
            for (model, detector, full_spectrum), rows in found.items()
            for group, members in _groups(rows).items()
        ]

    @property
    def flagged(self) -> dict[str, dict[str, float]]:
        """Detector -> data set -> the share of it that the detector's own threshold calls
        out-of-distribution, from 0 to 1; of the detectors that have one.
        """
        return {
            detector: {
                name: float(np.mean(scores <= np.float32(given["threshold"])))
                for name, scores in self.scores[detector].items()
            }
            for detector, given in self.thresholds.items()
        }

    def table(self) -> ResultsTable:
        """The results as a table: print it, or hand it to rich's `Console.print`.

        Returns:
            a rich renderable. Its `str` is plain text.
        """
        return ResultsTable(self.to_dict())

    def to_dict(self) -> Results:
        """Everything but the raw scores and the pictures, as JSON has it.

        Returns:
            `id`, `shifted`, `inputs`, `results` (the rows), `means`, `thresholds`, `flagged`,
            `definitions`, `versions`, `skipped`, `seed` and `command`.
        """
        return {
            "id": self.id,
            "shifted": self.shifted,
            "inputs": self.inputs,
            "results": self.rows,
            "means": self.means,
            "thresholds": self.thresholds,
            "flagged": self.flagged,
            "definitions": self.definitions,
            "versions": self.versions,
            "skipped": self.skipped,
            "seed": self.seed,
            "command": self.command,
        }

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes everything but the raw scores as strict JSON (no NaN).

        Args:
            path: the file to write or replace.

        Raises:
            OSError: if it cannot be written. Nothing half-written stays.
        """
        write_json(self.to_dict(), path)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows as CSV; an interval becomes the two columns `_low` and `_high`.

        Args:
            path: the file to write or replace.

        Raises:
            OSError: if it cannot be written. Nothing half-written stays.
        """
        write_csv(self.rows, path)

    def to_plots(self, folder: str | os.PathLike[str]) -> None:
        """Draws two PNG files per OOD set: score histograms, and ROC curves of all detectors.

        Where there are groups of OOD sets, `means.png` has the mean AUROC of each.

        Args:
            folder: where to put them; made if missing, other files in it are left alone.

        Raises:
            OSError: if a file cannot be written. Nothing half-written stays.
        """
        for name, png in self._plots_and_page()[0].items():
            write_file(Path(folder) / name, png)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes everything as one page, to be read with nothing but a browser.

        Args:
            path: the file to write or replace.

        Raises:
            OSError: if it cannot be written. Nothing half-written stays.
        """
        write_file(path, self._plots_and_page()[1])

    def _plots_and_page(self) -> tuple[dict[str, bytes], bytes]:
        """The plots by the names of their files, and the page that they stand on."""
        # matplotlib costs half a second of import, which only plots should pay.
        from keras_lodin.evaluation.page import evaluation_page
        from keras_lodin.evaluation.plots import draw_means, draw_plots, plot_files

        results = self.to_dict()
        plots, means = draw_plots(results, self.scores), draw_means(results)
        html = evaluation_page(results, self.scores, plots, self.extremes, means)
        # No other plot has that name: theirs end in `_scores.png` and `_roc.png`.
        named = {} if means is None else {"means.png": means}
        return plot_files(plots) | named, html.encode()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `report.html`, `results.json`, `results.csv`, `scores.npz` and `plots/`.

        `scores.npz` holds one array per detector and data set, named "detector/data set", where a
        slash in a detector's own name is written `%2F`.

        All files are written before the first of an earlier evaluation is replaced. `results.json`
        comes last, and holds under `files` the SHA-256 digests of the others: a reader can tell
        that they belong together.

        Args:
            folder: where to put them; made if missing, other files in it are left alone. Plots of
                the evaluation before, of data that is not in this one, are removed.

        Raises:
            OSError: if a file cannot be written. What was there before is then still there.
        """
        plots, html = self._plots_and_page()
        drawn = {f"plots/{name}": png for name, png in plots.items()}
        outdated = outdated_plots(folder, drawn)
        with write_together(folder, "results.json", outdated) as written:
            self.to_csv(written / "results.csv")
            write_scores(self.scores, written / "scores.npz")
            for name, content in {**drawn, "report.html": html}.items():
                write_file(written / name, content)
            write_json({**self.to_dict(), "files": file_digests(written)}, written / "results.json")

    @staticmethod
    def merge(evaluations: Sequence[Evaluation]) -> Evaluation:
        """Joins evaluations of several models on the same data into one.

        Args:
            evaluations: one or more, of the same ID and OOD data, with different models.

        Returns:
            an `Evaluation` with the rows of all. With more than one model its `id["accuracy"]`
            is None, and `id["accuracy_by_model"]` has each model's.

        Raises:
            ValueError: if there are none, if data, seeds or definitions differ, or if two have
                the same model name and detector name.
        """
        if not evaluations:
            raise ValueError("`evaluations` must hold at least one. Received: an empty sequence")
        first, *others = evaluations
        if not others:
            return first
        for other in others:
            if _conditions(other) != _conditions(first):
                raise ValueError(
                    "Only evaluations on the same data, with the same seed and definitions, can "
                    f"be merged. Received: {_conditions(first)[:4]} and {_conditions(other)[:4]}"
                )
        rows = [row for evaluation in evaluations for row in evaluation.rows]
        keys = [(row["model"], row["detector"], row["ood"], is_full_spectrum(row)) for row in rows]
        if len(set(keys)) < len(keys):
            raise ValueError(
                "Two evaluations have the same model and detector names. Tell them apart: "
                f"`evaluate(..., model=NAME)`. Received: models and detectors "
                f"{sorted({key[:2] for key in keys if keys.count(key) > 1})}"
            )
        scores: dict[str, dict[str, np.ndarray]] = {}
        thresholds: dict[str, Threshold] = {}
        extremes: Extremes = {}
        for evaluation in evaluations:
            # Rows and scores hold their detectors in the same order.
            detectors = dict.fromkeys((row["model"], row["detector"]) for row in evaluation.rows)
            for (model, detector), values in zip(
                detectors, evaluation.scores.values(), strict=True
            ):
                name = f"{model}/{detector}"
                scores[name] = values
                extremes[name] = evaluation.extremes.get(detector, {})
                if detector in evaluation.thresholds:
                    thresholds[name] = evaluation.thresholds[detector]
        return Evaluation(
            id=_of_all_models([evaluation.id for evaluation in evaluations]),
            rows=rows,
            scores=scores,
            definitions=first.definitions,
            versions=first.versions,
            skipped=first.skipped,
            seed=first.seed,
            command=first.command,
            thresholds=thresholds,
            extremes=extremes,
            inputs={name: given for one in evaluations for name, given in one.inputs.items()},
            shifted=[
                _of_all_models(same)
                for same in zip(*(one.shifted for one in evaluations), strict=True)
            ],
        )


def id_data_facts(name: str, count: int, accuracies: dict[str, float | None]) -> IDData:
    """What `Evaluation.id` holds; accuracies are of each model, None without labels."""
    return {
        "name": name,
        "count": count,
        "accuracy": next(iter(accuracies.values())) if len(accuracies) == 1 else None,
        "accuracy_by_model": accuracies,
    }


def _of_all_models(facts: Sequence[IDData]) -> IDData:
    """What evaluations of several models say of the same data."""
    accuracies: dict[str, float | None] = {}
    for one in facts:
        accuracies |= one["accuracy_by_model"]
    return id_data_facts(facts[0]["name"], facts[0]["count"], accuracies)


def _groups(rows: list[Row]) -> dict[str | None, list[Row]]:
    """The rows of each group, and under None those of all, if they are several."""
    groups: dict[str | None, list[Row]] = {}
    for row in rows:
        if group_of(row) is not None:
            groups.setdefault(group_of(row), []).append(row)
    return groups | ({None: rows} if len(rows) > 1 else {})


def _conditions(evaluation: Evaluation) -> tuple[Any, ...]:
    """What must agree for two evaluations to stand in one table."""
    return (
        (evaluation.id["name"], evaluation.id["count"]),
        {row["ood"]: (row["count"], group_of(row)) for row in evaluation.rows},
        [(one["name"], one["count"]) for one in evaluation.shifted],
        f"seed {evaluation.seed}",
        evaluation.definitions,
    )
