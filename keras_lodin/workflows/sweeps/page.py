"""What a sweep found, as sections of a page that end in a recommendation."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from keras_lodin.metrics.over_seeds import Spread, spread
from keras_lodin.report import page
from keras_lodin.report.page import Block, Section
from keras_lodin.report.tables import percent, plus_minus
from keras_lodin.workflows.sweeps import Candidate, Recommendation
from keras_lodin.workflows.sweeps.halving import Plan

Figure: TypeAlias = Literal["separation", "id_accuracy"]


class TrainingRow(TypedDict, total=False):
    """What one training of a sweep gave; no figures where it diverged."""

    rung: int
    epochs: int
    candidate: str
    seed: int
    diverged: bool
    id_accuracy: float
    separation: float
    auroc: dict[str, float]


def sweep_report(
    settings: Mapping[str, Any],
    plan: Plan,
    rows: Sequence[TrainingRow],
    recommendation: Recommendation,
    choice: Candidate,
    left_out: Sequence[Candidate],
    versions: Mapping[str, str | None],
    command: str | None,
) -> tuple[str, str, list[Section]]:
    """Title, summary and sections: the rungs, the recommendation, and how it was made."""
    last = len(plan.rungs)
    sections = []
    for number, rung in enumerate(plan.rungs[:-1], start=1):
        screened = sorted(
            (_screened(row) for row in rows if row["rung"] == number),
            key=lambda cells: cells[1],
            reverse=True,
        )
        title = f"Rung {number}: {rung.candidates} candidates, {rung.epochs} epochs, one seed"
        table = page.table("Per cent, best first", ("candidate", "AUROC", "ID accuracy"), screened)
        sections.append(Section(title, [table]))
    final = [row for row in rows if row["rung"] == last]
    sections.append(
        Section(
            f"Rung {last}: {plan.rungs[-1].epochs} epochs, {plan.rungs[-1].seeds} seeds",
            [_decisive(final, recommendation), *_missing(rows, left_out)],
        )
    )
    sections.append(Section("Recommendation", _advice(settings, recommendation, choice)))
    made = page.made_with(
        f"At most {plan.cost:.1f} plain trainings of {settings['epochs']} epochs, of a budget "
        f"of {settings['budget']:g}. {page.versions_text(versions)}",
        command,
    )
    sections.append(Section("How this was made", made))
    sets = ", ".join(next((row["auroc"] for row in rows if "auroc" in row), {}))
    title = f"How to train {settings['model']} on {settings['id']}"
    summary = (
        f"Detector: {settings['detector']}. Out-of-distribution (OOD) data for the choice: {sets}. "
        "AUROC (higher = better separated) is the mean over them; ID accuracy is that on the same "
        "validation data. No test data was used."
    )
    return title, summary, sections


def _decisive(final: Sequence[TrainingRow], recommendation: Recommendation) -> Block:
    return page.table(
        "Differences are paired by seed with plain training (off); ± is the half-width of "
        "Student's 95 % interval over seeds. Per cent.",
        ("candidate", "AUROC", "ID accuracy", "AUROC - off", "accuracy - off"),
        [
            (
                name,
                _mean(final, name, "separation"),
                _mean(final, name, "id_accuracy"),
                _text(recommendation.separation.get(name), "+"),
                _text(recommendation.accuracy.get(name), "+"),
            )
            for name in dict.fromkeys(row["candidate"] for row in final)
        ],
    )


def _missing(rows: Sequence[TrainingRow], left_out: Sequence[Candidate]) -> list[Block]:
    blocks = []
    diverged = sorted({row["candidate"] for row in rows if row["diverged"]})
    if diverged:
        blocks.append(page.text(f"Diverged, and out: {', '.join(diverged)}."))
    if left_out:
        names = ", ".join(candidate.name for candidate in left_out)
        blocks.append(page.text(f"Not tried, as the budget did not allow it: {names}."))
    return blocks


def _advice(
    settings: Mapping[str, Any], recommendation: Recommendation, choice: Candidate
) -> list[Block]:
    off = choice.name == Candidate().name
    advice = "Train plainly: leave GQ off." if off else f"Train with: {choice.name}."
    blocks = [page.verdict(advice), page.text(recommendation.reason)]
    if not off:
        blocks.append(page.code(_train_command(settings, choice)))
    blocks.append(
        page.text("The made-up data stands in for what will be met; what is met may differ.")
    )
    return blocks


def _train_command(settings: Mapping[str, Any], choice: Candidate) -> str:
    plain = Candidate()
    options = {
        name: value
        for name, value in choice.settings.items()
        if value != getattr(plain, name) or (name in ("form", "estimator") and choice.gq_weight)
    }
    options |= {
        name: settings[name]
        for name in ("epochs", "batch_size", "learning_rate", "weight_decay", "augment")
        if settings[name] is not None
    }
    words = ["keras-lodin", "train", "--id", settings["id"], "--model", settings["model"]]
    for name, value in options.items():
        text = f"{value:g}" if isinstance(value, float) else str(value)
        words += [f"--{name.replace('_', '-')}", text]
    if settings["freeze_batch_norm"]:
        words.append("--freeze-batch-norm")
    return shlex.join([*words, "--output", "run"])


def _screened(row: TrainingRow) -> tuple[str, str, str]:
    if row["diverged"]:
        return row["candidate"], "diverged", ""
    return row["candidate"], percent(row["separation"], digits=2), percent(row["id_accuracy"])


def _mean(rows: Sequence[TrainingRow], candidate: str, figure: Figure) -> str:
    own = [row for row in rows if row["candidate"] == candidate]
    if any(row["diverged"] for row in own):
        return "diverged"
    return _text(spread({row["seed"]: row[figure] for row in own}))


def _text(values: Spread | None, sign: str = "") -> str:
    return "" if values is None else plus_minus(values.mean, values.half_width, sign)
