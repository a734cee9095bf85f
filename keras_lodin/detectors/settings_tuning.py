"""Choosing a score's hyper-parameters without out-of-distribution data.

As for ODIN (`odin_tuning.py`), what the data are told from is made of the data themselves, of
several kinds (`keras_lodin.data.contrasts`), and a setting should be good against all: the one with
the largest mean AUROC is taken. To ask for a gain beyond doubt was tried, and cost more than it
saved (docs/results/contrasts.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from keras_lodin.detectors.contrast_pass import Separation, separations
from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.tuning import FEWEST_SAMPLES, MADE_UP, OOD, TIED, Tuning
from keras_lodin.detectors.tuning_margin import (
    Placements,
    TuningMargin,
    auroc_margin,
)
from keras_lodin.utils.registry import did_you_mean
from keras_lodin.utils.tensor import Tensor


class _Candidate(NamedTuple):
    """Settings, where their scores stand, and their mean over the in-distribution data."""

    settings: dict[str, Any]
    placed: Placements
    mean: float


def chosen_together(
    detectors: Sequence[Detector],
    scores: Callable[[Tensor], list[Tensor]],
    tried: Sequence[list[dict[str, Any]]],
    defaults: Sequence[dict[str, Any]],
    id_data: object,
    ood_data: object,
    batch_size: int,
    verbose: int | str,
) -> list[Tuning]:
    """Finds the settings that best tell the data from their contrasts; the defaults where tied.

    Args:
        detectors: one or more, with the statistics that they need; left as they are. One pass over
            the data serves all.
        scores: a batch of inputs to the scores of each detector, `(batch, candidates)`.
        tried: the candidates of each detector.
        defaults: those of each, among its candidates.
        id_data: in-distribution inputs.
        ood_data: None for data made of `id_data`, or out-of-distribution inputs.
        batch_size: samples per batch, for data that is not batched already.
        verbose: as in `TunableDetector.tune`.

    Returns:
        a `Tuning` for each detector.

    Raises:
        ValueError: as `Detector.check_inputs`.
    """
    found = separations(
        detectors, scores, id_data, ood_data, "Choosing the settings", batch_size, verbose
    )
    return [
        _chosen(grid, separated, own, paired=ood_data is None)
        for grid, separated, own in zip(tried, found, defaults, strict=True)
    ]


def _chosen(
    tried: list[dict[str, Any]],
    found: list[Separation],
    defaults: dict[str, Any],
    *,
    paired: bool,
) -> Tuning:
    """The choice among the settings of one detector, from how well each separates."""
    measured = [
        _Candidate(settings, one.placed, one.mean)
        for settings, one in zip(tried, found, strict=True)
    ]

    def margin(one: _Candidate, other: _Candidate) -> TuningMargin:
        gain = auroc_margin(one.placed, other.placed, paired=paired)
        return TuningMargin(other.settings, other.placed.auroc, *gain)

    at_defaults = measured[tried.index(defaults)]
    best = max(measured, key=lambda candidate: candidate.placed.auroc)
    tied = best.placed.auroc - at_defaults.placed.auroc <= TIED
    choice = at_defaults if tied else best
    runners_up = sorted(
        (margin(choice, one) for one in measured if one is not choice),
        key=lambda other: -other.auroc,
    )
    counts = found[0].id_count, found[0].contrast_count
    too_few = (
        f"Fewer than {FEWEST_SAMPLES} samples cannot tell settings apart: take some hundreds to "
        f"tune. Received: {counts[0]} in-distribution samples against {counts[1]}"
    )
    return Tuning(
        choice.settings,
        MADE_UP if paired else OOD,
        [
            {**settings, "auroc": placed.auroc, "mean_id_score": mean}
            for settings, placed, mean in measured
        ],
        choice.placed.auroc,
        *counts,
        margin(choice, at_defaults),
        runners_up[0] if runners_up else None,
        (too_few,) if min(counts) < FEWEST_SAMPLES else (),
    )


def settings_grid(
    declared: Mapping[str, Setting],
    candidates: Mapping[str, Sequence[Any]] | None,
    defaults: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Every combination of candidates, those declared where None are given, and the defaults.

    Raises:
        ValueError: for settings that are not declared, or unusable candidates.
    """
    given: dict[str, Sequence[Any]] = {name: one.candidates for name, one in declared.items()}
    if candidates is not None:
        given = {**dict.fromkeys(declared, ()), **candidates}
    values = {}
    for name, listed in given.items():
        if name not in declared:
            raise ValueError(
                f"`candidates` must name settings of the detector: {', '.join(declared)}."
                f"{did_you_mean(name, declared)} Received: candidates of {name!r}"
            )
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise ValueError(
                f"`candidates` must hold a list of values for each setting. Received: {name}="
                f"{listed!r}"
            )
        checked = [declared[name].check(name, value) for value in listed]
        values[name] = list(dict.fromkeys([*checked, defaults[name]]))
    return [dict(zip(values, one, strict=True)) for one in product(*values.values())]
