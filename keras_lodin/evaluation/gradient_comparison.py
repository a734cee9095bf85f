"""The gradient norms of several models on several data sets: their figures, table and files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from keras_lodin.evaluation.document import Row
from keras_lodin.metrics.figures import auroc
from keras_lodin.quotient.distributions import QUANTITIES, GradientDistributions
from keras_lodin.report.tables import accuracy_text, percent, skipped_lines, terminal_table
from keras_lodin.utils.files import file_digests, write_file, write_json, write_together
from keras_lodin.utils.foreign_text import csv_cell, csv_text, shown
from keras_lodin.utils.versions import package_versions

_NOTE = (
    "Medians of the norm of the predicted class's gradient, of the sum of the others' norms (both "
    "as base-10 logarithms), and of their quotient. In brackets the AUROC in per cent with the "
    "quantity as a score, higher = more in-distribution: below 50 it is larger on OOD data."
)


@dataclass(frozen=True)
class GradientComparison:
    """What `keras_lodin.workflows.gradients` computed, with everything needed to read it later.

    Attributes:
        id: name of the in-distribution (ID) data.
        distributions: `distributions[model][data set]`, ID data included.
        accuracies: of each model, the fraction of the ID data classified correctly; None without
            labels.
        settings: `"form"`, `"estimator"`, `"samples"`, `"norm"`, `"seed"` and `"limit"`.
        skipped: data set -> list of `(path, reason)`, the files that could not be read.
        command: the command line behind it, or None.
    """

    id: str
    distributions: dict[str, dict[str, GradientDistributions]]
    accuracies: dict[str, float | None]
    settings: dict[str, Any]
    skipped: dict[str, list[tuple[str, str]]]
    command: str | None = None

    @property
    def rows(self) -> list[Row]:
        """One dict per model and data set: counts, statistics and, for OOD data, AUROCs."""
        rows = []
        for model, sets in self.distributions.items():
            for name, found in sets.items():
                values = {quantity: getattr(found, quantity) for quantity in QUANTITIES}
                rows.append(
                    {
                        "model": model,
                        "data": name,
                        "kind": self._kind(name),
                        "count": len(found),
                        "zero_label_gradients": _infinite(found.log10_label_norm),
                        "zero_other_gradients": _infinite(found.log10_other_norm),
                        **{key: _statistics(array) for key, array in values.items()},
                        "auroc": None
                        if name == self.id
                        else {
                            key: _auroc(getattr(sets[self.id], key), array)
                            for key, array in values.items()
                        },
                    }
                )
        return rows

    def table(self) -> Group:
        """The medians and AUROCs, a table per model: hand it to rich's `Console.print`."""
        parts: list[RenderableType] = []
        for model in self.distributions:
            title = f"{model}: ID accuracy {accuracy_text(self.accuracies[model])}"
            parts.append(Text(shown(title), style="bold"))
            parts.append(_table([row for row in self.rows if row["model"] == model]))
            parts.append("")
        parts += [Text(shown(line)) for line in skipped_lines(self.skipped)]
        return Group(*parts, Text(_NOTE, style="dim"))

    def to_dict(self) -> dict[str, Any]:
        """What `gradients.json` holds: everything but the single samples."""
        return {
            "id": {"name": self.id, "accuracy_by_model": self.accuracies},
            "settings": self.settings,
            "results": self.rows,
            "definitions": _definitions(**self.settings),
            "versions": package_versions(),
            "skipped": self.skipped,
            "command": self.command,
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `gradients.json`, `gradients.csv` (every sample) and `gradients.png`.

        All are written before the first of an earlier comparison is replaced. `gradients.json`
        comes last, and holds under `files` the SHA-256 digests of the others.

        Args:
            folder: where to put them; made if missing, other files in it are left alone.

        Raises:
            OSError: if a file cannot be written. What was there before is then still there.
        """
        # matplotlib costs half a second of import, which only plots should pay.
        from keras_lodin.evaluation.gradient_plots import gradient_figure
        from keras_lodin.report.plot_style import as_png

        with write_together(folder, "gradients.json") as written:
            samples = csv_text(("model", "data", "kind", *QUANTITIES), self._samples(), "\n")
            write_file(written / "gradients.csv", samples.encode())
            form, norm = self.settings["form"], self.settings["norm"]
            figure = gradient_figure(self.distributions, self.id, form, norm)
            write_file(written / "gradients.png", as_png(figure))
            document = {**self.to_dict(), "files": file_digests(written)}
            write_json(document, written / "gradients.json")

    def _samples(self) -> Iterator[list[object]]:
        for model, sets in self.distributions.items():
            for name, found in sets.items():
                values = (getattr(found, quantity) for quantity in QUANTITIES)
                for sample in zip(*values, strict=True):
                    numbers = (f"{value:.7g}" for value in sample)
                    yield [csv_cell(model), csv_cell(name), self._kind(name), *numbers]

    def _kind(self, name: str) -> str:
        return "id" if name == self.id else "ood"


def _infinite(values: np.ndarray) -> int:
    return int(np.sum(~np.isfinite(values)))


def _statistics(values: np.ndarray) -> dict[str, float | None]:
    """Quartiles and mean of the values that are finite; None where there is none."""
    names = ("lower_quartile", "median", "upper_quartile", "mean")
    some = values[np.isfinite(values)].astype("float64")
    if not some.size:
        return dict.fromkeys(names)
    figures = [*np.quantile(some, (0.25, 0.5, 0.75)), some.mean()]
    return {name: float(figure) for name, figure in zip(names, figures, strict=True)}


def _auroc(id_values: np.ndarray, ood_values: np.ndarray) -> float:
    both = np.concatenate([id_values, ood_values])
    # Only the order counts, and the logarithm of zero comes before all others.
    lowest = np.min(both, initial=0.0, where=np.isfinite(both)) - 1.0
    return auroc(*(np.maximum(values, lowest) for values in (id_values, ood_values)))


def _table(rows: list[Row]) -> Table:
    table = terminal_table()
    table.add_column("")
    table.add_column("Data", overflow="fold")
    for column in ("Count", "Predicted", "Others", "Quotient"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = []
        for quantity, digits in zip(QUANTITIES, (2, 2, 3), strict=True):
            median = row[quantity]["median"]
            value = "all zero" if median is None else f"{median:.{digits}f}"
            separation = "" if row["auroc"] is None else f" ({percent(row['auroc'][quantity])})"
            cells.append(value + separation)
        table.add_row(row["kind"].upper(), Text(shown(row["data"])), f"{row['count']:,}", *cells)
    return table


def _definitions(
    form: str, estimator: str, samples: int, norm: str, **_: int | None
) -> dict[str, str]:
    output = "the softmax at temperature 1" if form == "softmax" else "the logits"
    drawn = "" if estimator == "exact" else f", estimated ({estimator}, {samples} per sample)"
    return {
        "log10_label_norm": f"Base-10 logarithm of the {norm} norm of the gradient, by the input, "
        f"of the predicted class's component of {output}{drawn}.",
        "log10_other_norm": f"Base-10 logarithm of the sum of the {norm} norms of the other "
        "classes' gradients.",
        "quotient": "The first norm over the second; 0 where the second is zero.",
        "zero_gradients": "Samples whose norm is zero have no logarithm. They are counted, and "
        "left out of the statistics of that norm; in the AUROC they rank below all others.",
        "auroc": "Area under the ROC curve, ID positive, with the quantity as the score: higher = "
        "more in-distribution. Below 0.5 the quantity is larger on OOD data.",
        "limit": "At most so many samples of each data set, drawn at random from all of it.",
    }
