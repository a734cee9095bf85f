"""What a `tune` chose, and how sure the choice is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_lodin.detectors.tuning_margin import TuningMargin

# AUROCs this close are tied: a few pairs of samples lie at the edge of what rounding decides.
TIED = 1e-6
# What the in-distribution data were told from.
MADE_UP, OOD = "made_up", "ood_data"
# With fewer samples an interval of the margin means nothing.
FEWEST_SAMPLES = 20


@dataclass(frozen=True)
class Tuning:
    """What `tune` chose, and what it chose from.

    Attributes:
        settings: the hyper-parameters chosen, by name; ODIN's are `temperature` and `epsilon`.
        contrast: "made_up" or "ood_data": what the in-distribution data were told from. Made up are
            the kinds of `keras_lodin.data.contrasts`.
        candidates: for each candidate a dict of its settings, `auroc` (of the data against the
            contrast, the mean over kinds of made-up data, a fraction; scores that differ by
            rounding count as tied) and `mean_id_score`, which Generalized ODIN's rule would
            maximise.
        auroc: of the choice.
        id_count: how many in-distribution samples decided.
        contrast_count: how many samples they were told from; of made-up data, of each kind.
        over_defaults: the margin over the default settings, whether they were among the candidates
            or not; 0 where they are the choice.
        over_runner_up: the margin over the best of the other candidates, None where there is none.
            Of ODIN it is below 0 where another temperature without a step is better than all
            `epsilons`.
        doubts: in a sentence each, why the choice is not sure; `tune` warns of them.
    """

    settings: Mapping[str, Any]
    contrast: str
    candidates: list[dict[str, Any]] = field(repr=False)
    auroc: float
    id_count: int
    contrast_count: int
    over_defaults: TuningMargin
    over_runner_up: TuningMargin | None
    doubts: tuple[str, ...] = field(repr=False)

    @property
    def temperature(self) -> float:
        """The temperature chosen, of a detector that has one."""
        return self.settings["temperature"]

    @property
    def epsilon(self) -> float:
        """The epsilon chosen, of a detector that has one."""
        return self.settings["epsilon"]

    def summary(self) -> str:
        """The choice and its margins in a few lines, for a person."""
        contrast = "each kind of made-up data" if self.contrast == MADE_UP else "the OOD data"
        lines = [
            in_words(self.settings),
            f"AUROC {100 * self.auroc:.2f} % of {self.id_count:,} ID samples against "
            f"{self.contrast_count:,} of {contrast}",
        ]
        if dict(self.settings) == dict(self.over_defaults.settings):
            lines.append("  these are the defaults")
        else:
            lines.append(f"  over the defaults: {points(self.over_defaults)}")
        if self.over_runner_up is not None:
            other = self.over_runner_up
            lines.append(f"  over the runner-up ({in_words(other.settings)}): {points(other)}")
        return "\n".join(lines)


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings in a line: "temperature 1000, epsilon 0.0014"."""
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, (int, float)) else f"{name} {value}"
        for name, value in settings.items()
    )


def points(margin: TuningMargin) -> str:
    """A margin in points of AUROC, with its interval."""
    # Adding 0 takes the sign off a rounded -0.
    middle, low, high = (round(100 * end, 2) + 0.0 for end in (margin.margin, *margin.interval))
    return f"{middle:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"
