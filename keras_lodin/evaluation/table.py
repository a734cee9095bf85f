"""An `Evaluation` as a table, for the terminal and as plain text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.box import Box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from keras_lodin.utils.foreign_text import shown

if TYPE_CHECKING:
    from keras_lodin.evaluation.one_pass import Evaluation

_NOTE = (
    "All figures in per cent; in brackets 95 % bootstrap intervals. AUROC: ID positive. FPR95: the "
    "share of OOD kept at the threshold that keeps at least 95 % of ID (ID positive). AUPR in, "
    "out: ID, OOD positive. Error: detection error at the best threshold."
)

# A rule under the header and nothing else, in characters that every terminal and file can hold.
UNDERLINED_HEADER = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


class ResultsTable:
    """The results of an evaluation: ID accuracy, then a table per OOD set, then what it means.

    rich renders it to the width of the terminal. `str` gives it as plain text, in ASCII but for
    the names.

    Args:
        evaluation: an `Evaluation`.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _heading(self._evaluation)
        yield ""
        for title, table in _tables(self._evaluation):
            # Not the table's own title, which would be broken to the table's width.
            yield title
            yield table
        yield Text(_NOTE, style="dim")

    def __str__(self) -> str:
        # In a notebook rich would show what it is asked to capture.
        console = Console(file=io.StringIO(), width=10_000, color_system=None, force_jupyter=False)
        widths = [
            max(title.cell_len, Measurement.get(console, console.options, table).maximum)
            for title, table in _tables(self._evaluation)
        ] + [line.cell_len for line in _heading(self._evaluation)]
        with console.capture() as capture:
            console.print(self, width=max(*widths, 80))
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    __repr__ = __str__


def _heading(evaluation: Evaluation) -> list[Text]:
    """The ID data and, before any other figure, the accuracy on it."""
    accuracies = evaluation.id["accuracy_by_model"]
    accuracy_texts = [
        ("unknown (no labels)" if accuracy is None else f"{100 * accuracy:.1f} %")
        + (f" ({model})" if len(accuracies) > 1 else "")
        for model, accuracy in accuracies.items()
    ]
    heading = [
        f"In-distribution (ID): {evaluation.id['name']}, {evaluation.id['count']:,} samples",
        f"ID accuracy: {', '.join(accuracy_texts)}",
    ]
    skipped = [
        f"{name}: {len(files)} unreadable files left out, the first is {files[0][0]}"
        for name, files in evaluation.skipped.items()
    ]
    styles = ["", "bold", *("" for _ in skipped)]
    return [
        Text(shown(line), style=style)
        for line, style in zip([*heading, *skipped], styles, strict=True)
    ]


def _tables(evaluation: Evaluation) -> list[tuple[Text, Table]]:
    """A title and a table per OOD set, so that the detectors to compare stand below each other."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in evaluation.rows:
        title = f"OOD: {row['ood']}, {row['count']:,} samples"
        groups.setdefault(title, []).append(row)
    if evaluation.means:
        groups[f"Mean of the {len(groups)} OOD sets"] = evaluation.means
    by_model = len(evaluation.id["accuracy_by_model"]) > 1
    return [
        (Text(shown(title), style="bold"), _table(rows, by_model)) for title, rows in groups.items()
    ]


def _table(rows: list[dict[str, Any]], by_model: bool) -> Table:
    table = Table(
        box=UNDERLINED_HEADER,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in ("Model", "Detector") if by_model else ("Detector",):
        table.add_column(name, overflow="fold")
    for name in ("AUROC", "FPR95", "AUPR in/out", "Error"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        names = (row["model"], row["detector"]) if by_model else (row["detector"],)
        figures = (
            _percent(row, "auroc"),
            _percent(row, "fpr95"),
            f"{_percent(row, 'aupr_in')}/{_percent(row, 'aupr_out')}",
            _percent(row, "detection_error"),
        )
        table.add_row(*(Text(shown(cell)) for cell in (*names, *figures)))
    table.add_row()
    return table


def _percent(row: dict[str, Any], figure: str) -> str:
    text = f"{100 * row[figure]:.1f}"
    if f"{figure}_interval" in row:
        low, high = row[f"{figure}_interval"]
        text += f" ({100 * low:.1f}-{100 * high:.1f})"
    return text
