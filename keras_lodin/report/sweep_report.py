"""What a sweep found, as a page that ends in a recommendation."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from keras_lodin.comparison import Spread, spread
from keras_lodin.selection import Candidate, Recommendation
from keras_lodin.selection.halving import Plan


def sweep_markdown(
    settings: Mapping[str, Any],
    plan: Plan,
    rows: Sequence[Mapping[str, Any]],
    recommendation: Recommendation,
    choice: Candidate,
    left_out: Sequence[Candidate],
    command: str | None,
) -> str:
    """The report as Markdown.

    Args:
        settings: of the sweep and its trainings.
        plan: what it did.
        rows: one for each training; see `keras_lodin.workflows.sweep.Sweep`.
        recommendation: of the selection rule.
        choice: the recommended candidate.
        left_out: candidates that the budget did not allow.
        command: the command line, if there is one.
    """
    last = len(plan.rungs)
    lines = [
        f"# How to train {settings['model']} on {settings['id']}",
        "",
        f"Detector: {settings['detector']}. Made-up OOD data: "
        + ", ".join(next((row["auroc"] for row in rows if "auroc" in row), {}))
        + ". AUROC (higher = better separated) is the mean over them; ID accuracy is that on the "
        "same validation data. No test data was used.",
        "",
    ]
    for number, rung in enumerate(plan.rungs[:-1], start=1):
        lines += [
            f"## Rung {number}: {rung.candidates} candidates, {rung.epochs} epochs, one seed",
            "",
            *_table(
                ("candidate", "AUROC", "ID accuracy"),
                sorted(
                    (_screened(row) for row in rows if row["rung"] == number),
                    key=lambda cells: cells[1],
                    reverse=True,
                ),
            ),
            "",
        ]
    final = [row for row in rows if row["rung"] == last]
    lines += [
        f"## Rung {last}: {plan.rungs[-1].epochs} epochs, {plan.rungs[-1].seeds} seeds",
        "",
        "Differences are paired by seed with plain training; ± is the half-width of Student's 95 % "
        "interval over seeds. Per cent.",
        "",
        *_table(
            ("candidate", "AUROC", "ID accuracy", "AUROC - plain", "accuracy - plain"),
            [
                (
                    name,
                    *(_mean(final, name, figure) for figure in ("separation", "id_accuracy")),
                    _text(recommendation.separation.get(name), "+"),
                    _text(recommendation.accuracy.get(name), "+"),
                )
                for name in dict.fromkeys(row["candidate"] for row in final)
            ],
        ),
        "",
    ]
    diverged = sorted({row["candidate"] for row in rows if row["diverged"]})
    if diverged:
        lines += [f"Diverged, and out: {', '.join(diverged)}.", ""]
    if left_out:
        names = ", ".join(candidate.name for candidate in left_out)
        lines += [f"Not tried, as the budget did not allow it: {names}.", ""]
    lines += ["## Recommendation", "", _sentence(recommendation, choice), ""]
    if choice.name != "off":
        lines += ["```sh", _train_command(settings, choice), "```", ""]
    lines += [
        "The made-up data stands in for what will be met; what is met may differ.",
        *([] if command is None else ["", f"Made with `{command}`."]),
    ]
    return "\n".join(lines) + "\n"


def _sentence(recommendation: Recommendation, choice: Candidate) -> str:
    if choice.name == "off":
        return f"**Leave GQ off: train plainly.** {recommendation.reason}"
    return f"**Train with: {choice.name}.** {recommendation.reason}"


def _train_command(settings: Mapping[str, Any], choice: Candidate) -> str:
    plain = Candidate()
    options = {
        name: value
        for name, value in choice.settings.items()
        if value != plain.settings[name] or (name in ("form", "estimator") and choice.gq_weight)
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


def _screened(row: Mapping[str, Any]) -> tuple[str, str, str]:
    if row["diverged"]:
        return row["candidate"], "diverged", ""
    return (
        row["candidate"],
        f"{100 * row['separation']:.2f}",
        f"{100 * row['id_accuracy']:.1f}",
    )


def _mean(rows: Sequence[Mapping[str, Any]], candidate: str, figure: str) -> str:
    own = [row for row in rows if row["candidate"] == candidate]
    if any(row["diverged"] for row in own):
        return "diverged"
    return _text(spread({row["seed"]: row[figure] for row in own}))


def _text(values: Spread | None, sign: str = "") -> str:
    if values is None:
        return ""
    half = "" if values.half_width is None else f" ± {100 * values.half_width:.2f}"
    return f"{100 * values.mean:{sign}.2f}{half}"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heading, ["---"] * len(heading), *rows)]
