"""The poster's rows, what they gave, and their differences, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.table import Table
from rich.text import Text

from keras_lodin.metrics.over_seeds import FIGURES, Spread
from keras_lodin.report.tables import percent, plus_minus, terminal_table
from keras_lodin.workflows.recipes import RECIPES, SCALES
from keras_lodin.workflows.recipes.recipe import Mean

_HEADINGS = {"auroc": "AUROC", "fpr95": "FPR95", "id_accuracy": "Accuracy"}


def recipes_tables() -> list[Table]:
    """All recipes, a table for each task: network, detector, GQ, the poster's figures."""
    tables = []
    for task in dict.fromkeys(recipe.id for recipe in RECIPES.values()):
        recipes = [recipe for recipe in RECIPES.values() if recipe.id == task]
        has_figures = any(recipe.published for recipe in recipes)
        figures = ["AUROC/FPR95/acc."] if has_figures else []
        scales = ", ".join(scale.name for scale in SCALES.values() if task in scale.data)
        title = f"{task}, at scale {scales}"
        table = _table(title, "Recipe", "Network", "Detector", "GQ", *figures)
        for recipe in recipes:
            weight = 0.0 if recipe.training is None else recipe.training.gq_weight
            cells = [recipe.name, recipe.network, recipe.detector, f"{weight:g}" if weight else "-"]
            if recipe.published is not None:
                cells.append("/".join(_published(asdict(recipe.published))))
            table.add_row(*cells)
        table.add_row()
        tables.append(table)
    return tables


def scales_text() -> str:
    """What each scale is."""
    lines = [f"Scale {scale.name}: {scale.description}" for scale in SCALES.values()]
    lines.append("AUROC/FPR95/accuracy are the poster's, in per cent: single runs, ID positive.")
    lines.append("Runs: keras-lodin recipe run NAME --scale SCALE")
    return "\n".join(lines)


def summary_table(summary: Mapping[str, Any]) -> Table:
    """What `run_recipe` returned: means over the OOD sets, over the seeds with their interval."""
    settings, seeds = summary["settings"], summary["seeds"]
    table = _table(
        f"{summary['recipe']}, scale {settings['scale']}, {len(seeds)} seed(s): mean of "
        f"{len(settings['ood'])} OOD sets, per cent, 95 % interval over seeds",
        *("Detector", *_HEADINGS.values(), "Every seed: AUROC"),
    )
    for cells in summary_rows(summary, "(the row's)", "poster, full scale", _mean):
        table.add_row(*cells)
    return table


def summary_rows(
    summary: Mapping[str, Any],
    own: str,
    poster: str,
    mean: Callable[[Mean], str],
) -> Iterator[list[str]]:
    """The figures of each detector over the seeds, and the poster's where it has some.

    `own` stands behind the name of the row's own detector, `poster` before the poster's figures,
    and `mean` shows a mean with its interval.
    """
    for detector, figures in summary["figures"].items():
        name = f"{detector} {own}" if detector == summary["settings"]["detector"] else detector
        values = figures["auroc"]["values"].values()
        seeds = ", ".join(percent(value, digits=2) for value in values)
        yield [name, *(mean(figures[figure]) for figure in FIGURES), seeds]
    if summary["published"] is not None:
        yield [poster, *_published(summary["published"]), ""]


def _published(row: Mapping[str, float]) -> list[str]:
    return [f"{row[name]:.2f}" for name in ("auroc", "fpr95", "accuracy")]


def differences_table(first: str, second: str, differences: Mapping[str, Spread]) -> Table:
    """What `compare_recipes` returned, "inconclusive" where the interval includes zero."""
    seeds = len(next(iter(differences.values())).values)
    table = _table(
        f"{first} - {second}, paired over {seeds} seed(s), percentage points",
        *("Figure", "Difference", "95 % interval", "Every seed", ""),
    )
    points = partial(percent, digits=2, sign="+")
    for figure, difference in differences.items():
        interval = difference.interval
        verdict = "inconclusive" if difference.inconclusive else ""
        if interval is None:
            verdict += " (one seed)"
        table.add_row(
            _HEADINGS[figure],
            points(difference.mean),
            "-" if interval is None else " to ".join(map(points, interval)),
            ", ".join(map(points, difference.values.values())),
            verdict,
        )
    return table


def _mean(figure: Mean) -> str:
    interval, mean = figure["interval"], figure["mean"]
    return plus_minus(mean, None if interval is None else interval[1] - mean)


def _table(title: str, *headings: str) -> Table:
    table = terminal_table()
    table.title, table.title_justify = Text(title, style="bold"), "left"
    for number, heading in enumerate(headings):
        # Names are there to be copied.
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    return table
