"""What a recipe gave, as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lodin.report import page
from keras_lodin.report.page import Block, Section
from keras_lodin.report.tables import percent
from keras_lodin.workflows.recipes.recipe import Mean
from keras_lodin.workflows.recipes.tables import summary_rows


def recipe_page(summary: Mapping[str, Any]) -> str:
    """What `run_recipe` returned as HTML: figures over the seeds, each OOD set, definitions."""
    settings = summary["settings"]
    versions = page.versions_text(summary["versions"])
    seconds = sum(summary["seconds"].values())
    made = page.made_with(f"{versions} {seconds:,.0f} seconds in all.", summary["command"])
    return page.page(
        f"{summary['recipe']}: {settings['detector']}, scale {settings['scale']}",
        " ".join(text for text in (summary["scale"], summary["note"]) if text),
        [
            Section("Results", [_figures(summary)]),
            Section("Each out-of-distribution set", [_sets(summary)]),
            Section("What the figures mean", [page.definitions(summary["definitions"])]),
            Section("How this page was made", made),
        ],
    )


def _figures(summary: Mapping[str, Any]) -> Block:
    settings, seeds = summary["settings"], summary["seeds"]
    return page.table(
        f"Means over {len(settings['ood'])} OOD sets and {len(seeds)} seeds, in per cent, with "
        "Student's 95 % interval over the seeds; FPR95 with ID positive",
        ("detector", "AUROC", "FPR95", "ID accuracy", "AUROC of every seed"),
        summary_rows(summary, "(the row's own)", "the poster, at full scale, one run", _mean),
    )


def _sets(summary: Mapping[str, Any]) -> Block:
    return page.table(
        f"The figures of {summary['settings']['detector']} in per cent",
        ("OOD set", "AUROC", "FPR95"),
        [
            (name, *(_mean(figures[figure]) for figure in ("auroc", "fpr95")))
            for name, figures in summary["by_ood_set"].items()
        ],
    )


def _mean(values: Mean) -> str:
    return percent(values["mean"], values["interval"], digits=2)
