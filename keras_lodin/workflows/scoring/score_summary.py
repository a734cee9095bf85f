"""What a folder of scores holds, in figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from heapq import nlargest
from itertools import islice
from typing import Any

from rich.console import Group
from rich.text import Text

from keras_lodin.report.tables import percent, terminal_table
from keras_lodin.utils.foreign_text import csv_cell, shown
from keras_lodin.workflows.scoring.score_folder import ScoreFolder

_SLOWEST = 5
_REASONS = 10
_BAR = 40


@dataclass(frozen=True)
class ScoreSummary:
    """The scores of a folder, in figures.

    Attributes:
        shards: how many there are in the plan.
        done: how many of them are done.
        images: how many there are in the shards that are done.
        scored: how many of these have a score.
        out_of_distribution: how many are flagged.
        not_a_number: how many have a score that is none; they are flagged.
        unreadable: how many could not be read.
        seconds: of all shards together.
        p_values: how many are in each of 20 bins between 0 and 1; None without p-values.
        threshold: of the artifact; None for one that was never calibrated.
        tpr: what the threshold promises of normal data.
        slowest: the shards that took the most seconds per image: name, input, images, seconds.
        reasons: key and reason of the first unreadable images.
        unreadable_inputs: which of the inputs that were named themselves are unreadable.
    """

    shards: int
    done: int
    images: int
    scored: int
    out_of_distribution: int
    not_a_number: int
    unreadable: int
    seconds: float
    p_values: list[int] | None
    threshold: float | None
    tpr: float | None
    slowest: list[dict[str, Any]]
    reasons: list[tuple[str, str]]
    unreadable_inputs: list[str]

    @property
    def flagged(self) -> float | None:
        """The share of the scored images that is out-of-distribution; None of no image."""
        return self.out_of_distribution / self.scored if self.scored else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "flagged": self.flagged}

    def table(self) -> Group:
        """For a terminal."""
        counts = terminal_table()
        for name in ("", "images", "share"):
            counts.add_column(name, justify="right" if name else "left")
        for name, count, of in (
            ("scored", self.scored, self.images),
            ("out-of-distribution", self.out_of_distribution, self.scored),
            ("score is no number", self.not_a_number, self.scored),
            ("unreadable", self.unreadable, self.images),
        ):
            counts.add_row(name, f"{count:,}", percent(count / of, digits=2) + " %" if of else "")
        parts: list[Any] = [counts]
        if self.p_values is not None and any(self.p_values):
            parts += ["", *self._histogram(self.p_values)]
        if self.done > 1:
            slow = terminal_table()
            for name in ("slowest shards", "images", "seconds", "input"):
                slow.add_column(name, justify="left" if name != "images" else "right")
            for one in self.slowest:
                cells = (one["shard"], f"{one['images']:,}", f"{one['seconds']:.1f}")
                slow.add_row(*cells, Text(shown(one["input"])))
            parts += ["", slow]
        if self.reasons:
            parts += ["", *(Text(shown(f"Unreadable: {key}: {why}")) for key, why in self.reasons)]
            if self.unreadable > len(self.reasons):
                parts.append(f"... and {self.unreadable - len(self.reasons):,} more")
        return Group(*parts)

    @staticmethod
    def _histogram(counts: list[int]) -> list[Text]:
        """A line for each bin: where all is as in calibration, lines are of one length."""
        lines = [Text("p-values (normal data: as many in each line)")]
        for place, count in enumerate(counts):
            bar = "#" * round(_BAR * count / max(counts))
            low, high = place / len(counts), (place + 1) / len(counts)
            share = percent(count / sum(counts), digits=2)
            lines.append(Text(f"{low:.2f} - {high:.2f} {share:>6} % {bar}"))
        return lines


def summarize(folder: ScoreFolder, named: Iterable[str] = ()) -> ScoreSummary:
    """Reads what the shards of a folder gave: not their rows, and no more than one at a time.

    Args:
        folder: the folder.
        named: inputs, of which it shall be known whether they are unreadable.

    Raises:
        FileNotFoundError: if there are no scores in the folder.
        ValueError: if its manifest is damaged.
    """
    manifest, done = folder.manifest(), folder.done()
    # As the files write them, which is not as they are for every name.
    written = {csv_cell(one): one for one in named}
    names = ("images", "scored", "out_of_distribution", "not_a_number", "unreadable", "seconds")
    totals: dict[str, Any] = dict.fromkeys(names, 0)
    p_values: list[int] | None = None
    slowest: list[dict[str, Any]] = []
    reasons: list[tuple[str, str]] = []
    unreadable_inputs: list[str] = []
    for name in done:
        outcome = folder.outcome(name)
        for key in totals:
            totals[key] += outcome[key]
        if outcome["p_values"] is not None:
            before = p_values or [0] * len(outcome["p_values"])
            p_values = [a + b for a, b in zip(before, outcome["p_values"], strict=True)]
        slowest = nlargest(_SLOWEST, [*slowest, outcome], key=_seconds_per_image)
        if outcome["unreadable"]:
            reasons += islice(folder.unreadable(name), _REASONS - len(reasons))
            if written:
                keys = (key for key, _ in folder.unreadable(name))
                unreadable_inputs += [written[key] for key in keys if key in written]
    totals["seconds"] = round(totals["seconds"], 3)
    artifact = manifest["artifact"]
    kept = ("shard", "input", "images", "seconds")
    return ScoreSummary(
        shards=manifest["plan"]["shards"],
        done=len(done),
        **totals,
        p_values=p_values,
        threshold=artifact.get("threshold"),
        tpr=artifact.get("tpr"),
        slowest=[{name: one[name] for name in kept} for one in slowest],
        reasons=reasons,
        unreadable_inputs=unreadable_inputs,
    )


def _seconds_per_image(outcome: dict[str, Any]) -> float:
    return float(outcome["seconds"] / max(outcome["images"], 1))
