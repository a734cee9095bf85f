"""Successive halving: many candidates trained briefly, few of them long, within a budget.

The unit is one plain training of full length. Candidates are screened with one seed in short, whole
trainings; of each rung the best third goes on to one three times as long. Those left are trained at
full length with every seed, beside plain training with the same seeds: only these runs decide.
(Jamieson & Talwalkar 2016, with the seeds of the last rung on top.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FACTOR = 3
FINALISTS = 2


@dataclass(frozen=True)
class Rung:
    """One round of trainings.

    Attributes:
        epochs: length of each training.
        candidates: how many candidates enter; plain training is trained beside them.
        seeds: with how many seeds each.
    """

    epochs: int
    candidates: int
    seeds: int


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Attributes:
        rungs: one after the other; the last is the one that decides.
        cost: at most, in plain trainings of full length.
        candidates: how many of the candidates take part: the first ones.
    """

    rungs: tuple[Rung, ...]
    cost: float
    candidates: int


def plan(costs: Sequence[float], epochs: int, budget: float, seeds: int) -> Plan:
    """The widest plan within a budget.

    Args:
        costs: price of each candidate's training step in plain steps, the most promising first.
        epochs: length of a full training.
        budget: in plain trainings of full length.
        seeds: of the last rung, two or more: a single one decides nothing.

    Returns:
        a `Plan`. Candidates that the budget does not allow are left out, the last ones first.

    Raises:
        ValueError: for no candidates, fewer than two seeds, or a budget too small for one
            candidate; the message says what one needs.
    """
    if not costs:
        raise ValueError("A sweep needs one candidate or more. Received: candidates=()")
    if seeds < 2:
        raise ValueError(
            f"`seeds` must be 2 or more: one training each decides nothing. Received: seeds={seeds}"
        )
    plans = [_plan(costs[:count], epochs, seeds) for count in range(len(costs), 0, -1)]
    for wide in plans:
        if wide.cost <= budget:
            return wide
    raise ValueError(
        f"`budget` must be {math.ceil(plans[-1].cost)} or more for the first candidate alone, with "
        f"{seeds} seeds; it is counted in plain trainings of full length. Received: budget={budget}"
    )


def survivors(count: int) -> int:
    """How many of a screening rung's candidates go on."""
    return max(FINALISTS, math.ceil(count / FACTOR))


def _plan(costs: Sequence[float], epochs: int, seeds: int) -> Plan:
    counts = [len(costs)]
    while counts[-1] > FINALISTS:
        counts.append(survivors(counts[-1]))
    screening = len(counts) - 1
    rungs = (
        *(
            Rung(max(1, round(epochs / FACTOR ** (screening - place))), count, 1)
            for place, count in enumerate(counts[:-1])
        ),
        Rung(epochs, counts[-1], seeds),
    )
    # Who survives is not known yet: the dearest might.
    dearest = sorted(costs, reverse=True)
    cost = sum(
        rung.seeds * rung.epochs / epochs * (1.0 + sum(dearest[: rung.candidates]))
        for rung in rungs
    )
    return Plan(rungs, cost, len(costs))
