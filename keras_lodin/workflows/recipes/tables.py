"""The poster's rows, what they gave, and their differences, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from rich.table import Table
from rich.text import Text

from keras_lodin.metrics.over_seeds import FIGURES, Spread
from keras_lodin.report.tables import percent, plus_minus, terminal_table
from keras_lodin.workflows.recipes import RECIPES, SCALES

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
                numbers = (recipe.published.auroc, recipe.published.fpr95)
                cells.append("/".join(f"{n:.2f}" for n in (*numbers, recipe.published.accuracy)))
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
    """The figures of a recipe: means over the OOD sets, over the seeds with their interval.

    Args:
        summary: what `run_recipe` returned.
    """
    settings, seeds = summary["settings"], summary["seeds"]
    table = _table(
        f"{summary['recipe']}, scale {settings['scale']}, {len(seeds)} seed(s): mean of "
        f"{len(settings['ood'])} OOD sets, per cent, 95 % interval over seeds",
        *("Detector", *_HEADINGS.values(), "Every seed: AUROC"),
    )
    for detector, figures in summary["figures"].items():
        own = " (the row's)" if detector == settings["detector"] else ""
        values = figures["auroc"]["values"].values()
        table.add_row(
            f"{detector}{own}",
            *(_mean(figures[figure]) for figure in FIGURES),
            ", ".join(percent(value, digits=2) for value in values),
        )
    published = summary["published"]
    if published is not None:
        figures = (published[name] for name in ("auroc", "fpr95", "accuracy"))
        table.add_row("poster, full scale", *(f"{value:.2f}" for value in figures), "")
    return table


def differences_table(first: str, second: str, differences: Mapping[str, Spread]) -> Table:
    """Paired differences, with the word "inconclusive" where the interval includes zero.

    Args:
        first: name of the recipe that is subtracted from.
        second: name of the other.
        differences: what `compare_recipes` returned.
    """
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


def _mean(figure: Mapping[str, Any]) -> str:
    interval, mean = figure["interval"], figure["mean"]
    return plus_minus(mean, None if interval is None else interval[1] - mean)


def _table(title: str, *headings: str) -> Table:
    table = terminal_table()
    table.title, table.title_justify = Text(title, style="bold"), "left"
    for number, heading in enumerate(headings):
        # Names are there to be copied.
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    return table
