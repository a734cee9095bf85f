"""An evaluation as a table, for the terminal and as plain text."""

from __future__ import annotations

import io

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from keras_lodin.evaluation.document import Results, Row
from keras_lodin.metrics.registry import figures_in
from keras_lodin.report.tables import accuracy_text, percent, skipped_lines, terminal_table
from keras_lodin.utils.foreign_text import shown

_NOTE = (
    "All figures in per cent; in brackets 95 % bootstrap intervals. AUROC: ID positive. FPR95: the "
    "share of OOD kept at the threshold that keeps at least 95 % of ID (ID positive). AUPR in, "
    "out: ID, OOD positive. Error: detection error at the best threshold."
)


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

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._heading
        yield ""
        for title, table in self._tables:
            # Not the table's own title, which would be broken to the table's width.
            yield title
            yield table
        yield Text(_NOTE, style="dim")

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
    """The ID data and, before any other figure, the accuracy on it."""
    accuracies = results["id"]["accuracy_by_model"]
    accuracy_texts = [
        accuracy_text(accuracy) + (f" ({model})" if len(accuracies) > 1 else "")
        for model, accuracy in accuracies.items()
    ]
    data = f"In-distribution (ID): {results['id']['name']}, {results['id']['count']:,} samples"
    return [
        Text(shown(data)),
        Text(shown(f"ID accuracy: {', '.join(accuracy_texts)}"), style="bold"),
        *(Text(shown(line)) for line in skipped_lines(results["skipped"])),
    ]


def _tables(results: Results) -> list[tuple[Text, Table]]:
    """A title and a table per OOD set, so that the detectors to compare stand below each other."""
    groups: dict[str, list[Row]] = {}
    for row in results["results"]:
        title = f"OOD: {row['ood']}, {row['count']:,} samples"
        groups.setdefault(title, []).append(row)
    if results["means"]:
        groups[f"Mean of the {len(groups)} OOD sets"] = results["means"]
    by_model = len(results["id"]["accuracy_by_model"]) > 1
    return [
        (Text(shown(title), style="bold"), _table(rows, by_model)) for title, rows in groups.items()
    ]


def _table(rows: list[Row], by_model: bool) -> Table:
    table = terminal_table()
    for name in ("Model", "Detector") if by_model else ("Detector",):
        table.add_column(name, overflow="fold")
    columns: dict[str, list[str]] = {}
    for figure in figures_in(rows):
        columns.setdefault(figure.column, []).append(figure.name)
    for heading in columns:
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        names = (row["model"], row["detector"]) if by_model else (row["detector"],)
        figures = ("/".join(_percent(row, name) for name in shared) for shared in columns.values())
        table.add_row(*(Text(shown(cell)) for cell in (*names, *figures)))
    table.add_row()
    return table


def _percent(row: Row, figure: str) -> str:
    return percent(row[figure], row.get(f"{figure}_interval"), between="-")
