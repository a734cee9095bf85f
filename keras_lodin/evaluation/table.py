"""An evaluation as a table, for the terminal and as plain text."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from keras_lodin.evaluation.document import (
    PASSES_NOTE,
    IDData,
    Results,
    Row,
    group_of,
    grouped,
    has_passes,
    shifted_in,
    spectrum_name,
)
from keras_lodin.metrics.registry import figures_in
from keras_lodin.report.tables import accuracy_text, percent, skipped_lines, terminal_table
from keras_lodin.utils.foreign_text import shown

_NOTE = (
    "All figures in per cent; in brackets 95 % bootstrap intervals. AUROC: ID positive. FPR95: the "
    "share of OOD kept at the threshold that keeps at least 95 % of ID (ID positive). AUPR in, "
    "out: ID, OOD positive. Error: detection error at the best threshold."
)
_SPECTRUM_NOTE = " Full spectrum: ID are the clean and the shifted data together."


class ResultsTable:
    """The results of an evaluation: ID accuracy, then a table per OOD set, then what it means.

    rich renders it to the width of the terminal. `str` gives it as plain text, in ASCII but for
    the names.

    Args:
        results: what `results.json` holds.
    """

    def __init__(self, results: Results) -> None:
        self._heading = _heading(results)
        self._tables = _tables(results)
        costs = PASSES_NOTE if has_passes(results["results"]) else ""
        self._note = _NOTE + costs + (_SPECTRUM_NOTE if shifted_in(results) else "")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._heading
        yield ""
        for title, table in self._tables:
            # Not the table's own title, which would be broken to the table's width.
            yield title
            yield table
        yield Text(self._note, style="dim")

    def __str__(self) -> str:
        # In a notebook rich would show what it is asked to capture.
        console = Console(file=io.StringIO(), width=10_000, color_system=None, force_jupyter=False)
        widths = [
            max(title.cell_len, Measurement.get(console, console.options, table).maximum)
            for title, table in self._tables
        ] + [line.cell_len for line in self._heading]
        with console.capture() as capture:
            console.print(self, width=max(*widths, 80))
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    __repr__ = __str__


def _heading(results: Results) -> list[Text]:
    """The ID data and, before any other figure, the accuracy on them; so of the shifted data."""
    lines = [
        line
        for kind, facts in (
            ("In-distribution (ID)", results["id"]),
            *(("Shifted, counted as ID too", one) for one in shifted_in(results)),
        )
        for line in (
            Text(shown(f"{kind}: {facts['name']}, {facts['count']:,} samples")),
            Text(shown(_accuracies(facts)), style="bold"),
        )
    ]
    return lines + [Text(shown(line)) for line in skipped_lines(results["skipped"])]


def _accuracies(facts: IDData) -> str:
    accuracies = facts["accuracy_by_model"]
    texts = [
        accuracy_text(accuracy) + (f" ({model})" if len(accuracies) > 1 else "")
        for model, accuracy in accuracies.items()
    ]
    return f"ID accuracy: {', '.join(texts)}"


def _tables(results: Results) -> list[tuple[Text, Table]]:
    """A title and a table per OOD set, so that the detectors to compare stand below each other."""
    tables: dict[str, list[Row]] = {}
    for row in results["results"]:
        group = "" if group_of(row) is None else f" ({group_of(row)})"
        title = f"OOD{group}: {row['ood']}, {row['count']:,} samples"
        tables.setdefault(title, []).append(row)
    has_groups = grouped(results["results"])
    for row in results["means"]:
        tables.setdefault(_mean_title(row, has_groups), []).append(row)
    by_model = len(results["id"]["accuracy_by_model"]) > 1
    by_spectrum = bool(shifted_in(results))
    return [
        (Text(shown(title), style="bold"), _table(rows, by_model, by_spectrum))
        for title, rows in tables.items()
    ]


def _mean_title(row: Row, has_groups: bool) -> str:
    sets = "1 OOD set" if row["ood_sets"] == 1 else f"{row['ood_sets']} OOD sets"
    if group_of(row) is not None:
        return f"Mean of {group_of(row)}: {sets}"
    return f"Mean of all {sets}" if has_groups else f"Mean of the {sets}"


def _table(rows: list[Row], by_model: bool, by_spectrum: bool) -> Table:
    table = terminal_table()
    names: dict[str, Callable[[Row], str]] = {
        **({"Model": lambda row: row["model"]} if by_model else {}),
        "Detector": lambda row: row["detector"],
        **({"ID": spectrum_name} if by_spectrum else {}),
    }
    for name in names:
        table.add_column(name, overflow="fold")
    columns: dict[str, list[str]] = {}
    for figure in figures_in(rows):
        columns.setdefault(figure.column, []).append(figure.name)
    for heading in columns:
        table.add_column(heading, justify="right", overflow="fold")
    with_passes = has_passes(rows)
    if with_passes:
        table.add_column("Passes", justify="right", overflow="fold")
    for row in rows:
        named = (name(row) for name in names.values())
        figures = ("/".join(_percent(row, name) for name in shared) for shared in columns.values())
        passes = (f"{row['passes']:g}",) if with_passes else ()
        table.add_row(*(Text(shown(cell)) for cell in (*named, *figures, *passes)))
    table.add_row()
    return table


def _percent(row: Row, figure: str) -> str:
    return percent(row[figure], row.get(f"{figure}_interval"), between="-")
