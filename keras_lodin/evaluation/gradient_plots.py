"""The distributions of gradient norms as a figure: ID against OOD, model beside model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_lodin.quotient.distributions import QUANTITIES, GradientDistributions
from keras_lodin.report.plot_style import (
    COLOURS,
    LINES,
    bin_edges,
    bins_between,
    draw_shares,
    plain,
)

# What an exact quotient of 1 may come to in float32.
_ONE = 1.001


def gradient_figure(
    models: Mapping[str, Mapping[str, GradientDistributions]],
    id_name: str,
    form: str = "softmax",
    norm: str = "l1",
) -> Figure:
    """Histograms of the two norms and of their quotient: a row for each, a column for each model.

    A row has one x axis for all models. Its end bins hold what lies beyond. Gradients that are zero
    have no logarithm: they are counted in the panel instead, and in its shares, not in its median.

    Args:
        models: `models[model][data set]`, the same data sets for every model.
        id_name: which of the data sets is in-distribution.
        form: "softmax" or "logits": whose gradients they are.
        norm: "l1" or "l2".
    """
    columns = len(models)
    figure = Figure(figsize=(max(4.2 * columns, 6.4) + 0.6, 8.2), layout="constrained")
    panels = figure.subplots(len(QUANTITIES), columns, squeeze=False, sharex="row", sharey="row")
    sets = list(next(iter(models.values())))
    names = [id_name, *(name for name in sets if name != id_name)]
    for row, quantity in zip(panels, QUANTITIES, strict=True):
        edges = bin_edges([getattr(models[m][name], quantity) for m in models for name in names])
        if quantity == "quotient":
            edges = _quotient_edges(edges, form)
        for axes, (model, distributions) in zip(row, models.items(), strict=True):
            values = {name: getattr(distributions[name], quantity) for name in names}
            _draw_panel(axes, values, edges)
            axes.set_xlabel(_axis_label(quantity, form, norm))
            # The names of the axis stand under every panel; so do its numbers.
            axes.tick_params(labelbottom=True)
            if quantity == QUANTITIES[0]:
                axes.set_title(plain(model), fontsize="medium")
    handles, _ = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        [plain(f"{'ID' if name == id_name else 'OOD'}: {name}") for name in names],
        loc="outside upper center",
        ncols=1 if max(map(len, names)) * min(len(names), 2) > 30 * columns else 2,
        frameon=False,
    )
    figure.supylabel("share of samples (vertical lines: medians)", fontsize="medium")
    return figure


def _draw_panel(axes: Axes, values: Mapping[str, np.ndarray], edges: np.ndarray) -> None:
    """The first data set as an area, the others as outlines over it."""
    zeros = []
    for number, (name, samples) in enumerate(values.items()):
        colour, line = COLOURS[number % len(COLOURS)], LINES[max(number - 1, 0) % len(LINES)]
        some = samples[np.isfinite(samples)]
        draw_shares(
            *(axes, samples, edges, colour, str(number)),  # The legend has the names.
            opacity=0.3 if number == 0 else 0.0,
            linestyle=line,
            linewidth=1.3,
        )
        if some.size:
            median = np.clip(np.median(some), edges[0], edges[-1])
            axes.axvline(median, color=colour, linestyle=line, linewidth=1.1, alpha=0.8)
        if some.size < samples.size:
            zeros.append(f"{name}: {samples.size - some.size:,} of {samples.size:,} are zero")
    if zeros:
        axes.text(
            *(0.02, 0.97),
            plain("\n".join(zeros)),
            transform=axes.transAxes,
            va="top",
            fontsize="x-small",
        )
    axes.set_xlim(edges[0], edges[-1])


def _quotient_edges(edges: np.ndarray, form: str) -> np.ndarray:
    """From 0: to 1 in the softmax form, unless what was estimated goes beyond."""
    high = float(edges[-1])
    if form == "softmax" and high < _ONE:
        high = 1.0
    return bins_between(0.0, high)


def _axis_label(quantity: str, form: str, norm: str) -> str:
    output = "S" if form == "softmax" else "f"
    order = norm[-1]
    label = rf"\|\partial {output}_{{\hat{{y}}}} / \partial x\|_{order}"
    others = rf"\sum_{{j \neq \hat{{y}}}} \|\partial {output}_j / \partial x\|_{order}"
    match quantity:
        case "log10_label_norm":
            return rf"predicted class: $\log_{{10}} {label}$"
        case "log10_other_norm":
            return rf"all others: $\log_{{10}} {others}$"
        case _:
            return rf"quotient: ${label}\; / \;{others}$"
