"""What a monitor of a detector's traffic found, as a value, and the page that is made of it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from keras_lodin.metrics.monitor import Window
from keras_lodin.report import page
from keras_lodin.report.page import Block
from keras_lodin.report.tables import percent, terminal_table
from keras_lodin.utils.files import write_file, write_json, write_together
from keras_lodin.utils.foreign_text import shown

# Of more windows the page's table has the last, and the plot all.
_MOST_ROWS = 100
_HEADER = (
    *("window", "inputs", "flagged, %", "so many by chance", "moved", "so far by chance"),
    *("evidence", "alarm"),
)


@dataclass(frozen=True)
class Monitoring:
    """What traffic showed, window by window.

    Attributes:
        windows: see `keras_lodin.metrics.monitor.Window`, in order, at least one.
        false_alarm_rate: the probability that there ever is an alarm on traffic like the
            calibration data.
        expected: the share that is flagged of such traffic on average; None where the detector has
            no threshold.
        calibration_count: how many calibration scores p-values are computed from.
        detector: what it is.
    """

    windows: tuple[Window, ...]
    false_alarm_rate: float
    expected: float | None
    calibration_count: int
    detector: str

    @property
    def first_alarm(self) -> Window | None:
        """The window with which the alarm was raised; None for no alarm."""
        return next((window for window in self.windows if window.alarm), None)

    @property
    def verdict(self) -> str:
        """The outcome in a sentence."""
        count = sum(window.count for window in self.windows)
        seen = f"{count:,} inputs in {len(self.windows):,} windows"
        rate = f"{100 * self.false_alarm_rate:g} %"
        if self.first_alarm is None:
            return (
                f"No alarm: {seen} show nothing that traffic like the calibration data does not. "
                f"Such traffic ever raises one with a probability of {rate} at most."
            )
        return (
            f"Alarm since window {self.first_alarm.name}: the {seen} are not like the calibration "
            f"data. Of traffic that is, an alarm would ever be raised with a probability of {rate} "
            "at most."
        )

    def table(self) -> Table:
        """All windows, for a terminal."""
        table = terminal_table()
        for number, name in enumerate(_HEADER):
            table.add_column(name, justify="right" if 0 < number < len(_HEADER) - 1 else "left")
        for window in self.windows:
            table.add_row(*(Text(shown(cell)) for cell in _cells(window)))
        return table

    def to_dict(self) -> dict[str, Any]:
        """Everything, in values that JSON has."""
        first = self.first_alarm
        return {
            "alarm": first is not None,
            "first_alarm": None if first is None else first.name,
            "false_alarm_rate": self.false_alarm_rate,
            "expected_flagged": self.expected,
            "calibration_count": self.calibration_count,
            "detector": self.detector,
            "verdict": self.verdict,
            "windows": [asdict(window) for window in self.windows],
            "definitions": _DEFINITIONS,
        }

    def page(self, command: str | None = None) -> str:
        """The same as an HTML page."""
        rows = self.windows[-_MOST_ROWS:]
        of = f", the last {_MOST_ROWS} of {len(self.windows):,}" if rows != self.windows else ""
        sections = [
            page.Section("Verdict", [page.verdict(self.verdict), self._plot()]),
            page.Section(
                "Windows",
                [page.table(f"Windows of traffic{of}", _HEADER, [_cells(row) for row in rows])],
            ),
            page.Section("What it means", [page.definitions(_DEFINITIONS)]),
            page.Section("How this was made", page.made_with(self._method(), command)),
        ]
        summary = (
            f"{sum(window.count for window in self.windows):,} inputs, from window "
            f"{self.windows[0].name} to {self.windows[-1].name}, and the detector's "
            f"{self.calibration_count:,} calibration scores."
        )
        return page.page("Traffic against the calibration data", summary, sections)

    def _method(self) -> str:
        share = (
            "It has no threshold, and flags nothing."
            if self.expected is None
            else f"Of such traffic it flags {percent(self.expected)} % on average."
        )
        return (
            f"The detector ({self.detector}) was calibrated on {self.calibration_count:,} scores. "
            f"{share} Each input is ranked among the calibration scores and all inputs before it; "
            "the alarm bets against those ranks being uniform."
        )

    def _plot(self) -> Block:
        flagged = [100 * window.flagged for window in self.windows]
        evidence = [window.evidence for window in self.windows]
        needed = -math.log10(self.false_alarm_rate)
        return page.figure(
            _drawn(flagged, evidence, self.expected, needed),
            f"Two curves over {len(self.windows):,} windows. The share flagged, from "
            f"{min(flagged):.1f} to {max(flagged):.1f} %, in the last window {flagged[-1]:.1f} %. "
            f"The evidence, {max(evidence):.1f} at most; the alarm is at {needed:.1f}.",
            "Above, the share of each window that was flagged; dashed, what traffic like the "
            "calibration data has on average. Below, the evidence against such traffic; dashed, "
            "where the alarm is raised.",
        )

    def save(self, folder: str | os.PathLike[str], command: str | None = None) -> None:
        """Writes `monitoring.html` and `monitoring.json`, both or neither.

        Args:
            folder: the folder, made if need be.
            command: the command line to record, if there is one.

        Raises:
            OSError: if they cannot be written.
        """
        with write_together(folder, "monitoring.json") as written:
            write_file(written / "monitoring.html", self.page(command).encode())
            write_json({**self.to_dict(), "command": command}, written / "monitoring.json")


_DEFINITIONS = {
    "flagged": "share of the window's inputs that were called out-of-distribution; so many by "
    "chance: how probable as many or more are if traffic is like the calibration data.",
    "moved": "how far the p-values are from uniform: the largest distance between the share of "
    "them up to a level and that level, from 0 to 1; so far by chance: how probable so large a "
    "distance is if traffic is like the calibration data. Of twenty windows one is below 0.05: "
    "these two are for reading, and raise no alarm.",
    "evidence": "decimal logarithm of what a capital of 1 has become that has been bet against "
    "traffic like the calibration data, at fair odds, since the first window. The alarm is raised "
    "when it has reached one over the false-alarm rate, and stays.",
}


def _cells(window: Window) -> tuple[str, ...]:
    chance = "" if window.flagged_chance is None else f"{window.flagged_chance:.2g}"
    return (
        window.name,
        f"{window.count:,}",
        percent(window.flagged),
        chance,
        f"{window.moved:.3f}",
        f"{window.moved_chance:.2g}",
        f"{window.evidence:.1f}",
        "yes" if window.alarm else "",
    )


def _drawn(
    flagged: Sequence[float], evidence: Sequence[float], expected: float | None, needed: float
) -> bytes:
    # matplotlib costs half a second of import, which only a page should pay.
    from matplotlib.figure import Figure

    from keras_lodin.report.plot_style import COLOURS, as_png

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    numbers = np.arange(1, len(flagged) + 1)
    mark = "o" if len(flagged) <= _MOST_ROWS else None
    for axes, values, colour, label in (
        (upper, flagged, COLOURS[0], "flagged, %"),
        (lower, evidence, COLOURS[1], "evidence"),
    ):
        axes.plot(numbers, values, color=colour, marker=mark, markersize=3)
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    upper.set_ylim(bottom=0)
    if expected is not None:
        upper.axhline(100 * expected, color="0.4", linewidth=1, linestyle="--")
    lower.axhline(needed, color="0.4", linewidth=1, linestyle="--")
    lower.set_xlabel("window")
    return as_png(figure)
