"""Which detector to take for a classifier, and what that is known by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.tuning import in_words
from keras_lodin.report import page
from keras_lodin.report.tables import percent, terminal_table
from keras_lodin.utils.files import write_file, write_json, write_together

BASELINE = "msp"


@dataclass(frozen=True)
class Judged:
    """What is known of one detector.

    Attributes:
        name: its name.
        settings: its hyper-parameters, chosen by `tune` where it has one.
        aurocs: AUROC of in-distribution data against each contrast, fractions.
        held_out: AUROC of known classes against classes that were left out, the mean over groups
            of them; None where it was not measured.
        margin: AUROC less that of MSP on the same samples and groups: the mean over contrasts,
            averaged with that on classes left out where both have it.
        interval: the margin's 95 % interval, over samples and groups of classes.
        worse: whether it is worse than MSP beyond doubt in one of the two.
        passes: see `Detector.cost_in_passes`.
        bytes: see `Detector.statistics_bytes`.
    """

    name: str
    settings: Mapping[str, Any]
    aurocs: Mapping[str, float]
    held_out: float | None
    margin: float
    interval: tuple[float, float]
    worse: bool
    passes: float
    bytes: int

    @property
    def better(self) -> bool:
        """Whether it is better than MSP beyond doubt, and in nothing worse beyond doubt."""
        return self.interval[0] > 0.0 and not self.worse


@dataclass(frozen=True)
class Choice:
    """What `choose` recommends, and everything that it is known by.

    Attributes:
        recommended: the name of the detector to take.
        reason: why, in a sentence or two.
        judged: every detector that was tried, the best first.
        left_out: why others were not, by name.
        id_count: how many in-distribution samples decided.
        by_ood_data: whether out-of-distribution data of the user's decided, and not made-up ones.
        detectors: the detectors themselves, tuned and not calibrated, by name.
    """

    recommended: str
    reason: str
    judged: tuple[Judged, ...]
    left_out: Mapping[str, str]
    id_count: int
    by_ood_data: bool
    detectors: Mapping[str, Detector] = field(repr=False)

    @property
    def detector(self) -> Detector:
        """The detector to take: calibrate it on data of its own."""
        return self.detectors[self.recommended]

    def table(self) -> Table:
        """All detectors, for a terminal."""
        table = terminal_table()
        header, rows = self._cells()
        for number, name in enumerate(header):
            table.add_column(name, justify="left" if number in (0, len(header) - 1) else "right")
        for cells in rows:
            table.add_row(*cells)
        return table

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        contrasts = list(self.judged[0].aurocs)
        held_out = any(one.held_out is not None for one in self.judged)
        header = ["detector", *contrasts, *(["classes left out"] if held_out else []), "over MSP"]
        rows = []
        for one in self.judged:
            cells = [one.name, *(percent(one.aurocs[name]) for name in contrasts)]
            if held_out:
                cells.append("" if one.held_out is None else percent(one.held_out))
            cells.append(percent(one.margin, one.interval, sign="+"))
            cells += [f"{one.passes:g}", f"{one.bytes / 2**20:.1f}", in_words(one.settings)]
            rows.append(cells)
        return [*header, "passes", "MB", "settings"], rows

    def to_dict(self) -> dict[str, Any]:
        """All but the detectors, in values that JSON has."""
        return {
            "recommended": self.recommended,
            "reason": self.reason,
            "id_count": self.id_count,
            "by_ood_data": self.by_ood_data,
            "judged": [
                {**vars(one), "settings": dict(one.settings), "aurocs": dict(one.aurocs)}
                for one in self.judged
            ],
            "left_out": dict(self.left_out),
        }

    def page(self, command: str | None = None) -> str:
        """The choice as an HTML page."""
        against = "the out-of-distribution data" if self.by_ood_data else "made-up contrasts"
        header, rows = self._cells()
        caption = (
            f"AUROC of {self.id_count:,} in-distribution samples against {against}, per cent "
            "(higher = better separated), and of known classes against classes left out; the mean "
            "difference to MSP on the same data, with its 95 % interval; forward passes that a "
            "score costs; what the detector adds to a file."
        )
        sections = [
            page.Section("Recommendation", [page.verdict(self.reason)]),
            page.Section("All detectors", [page.table(caption, header, rows)]),
            page.Section(
                "Left out",
                [page.definitions(self.left_out)] if self.left_out else [],
            ),
            page.Section("How this was made", page.made_with(_METHOD, command)),
        ]
        return page.page("Which detector to take", self.reason, sections)

    def save(self, folder: str | os.PathLike[str], command: str | None = None) -> None:
        """Writes `choice.html`, `choice.json` and the detector to take, `detector.keras`.

        All of them or none.

        Args:
            folder: the folder, made if need be.
            command: the command line to record, if there is one.
        """
        with write_together(folder, "choice.json") as written:
            self.detector.save(written / "detector.keras")
            write_file(written / "choice.html", self.page(command).encode())
            write_json(self.to_dict(), written / "choice.json")


_METHOD = (
    "Half of the data chose the settings, the other half judged. A detector is better than MSP "
    "where the 95 % interval of the mean difference lies above 0 and neither copies nor classes "
    "left out say the contrary beyond doubt. Of those that cannot be told from the best, the one "
    "that costs the fewest passes, then the fewest MB, is recommended. Made-up contrasts stand "
    "for no particular out-of-distribution data: measure with your own where you have some."
)
