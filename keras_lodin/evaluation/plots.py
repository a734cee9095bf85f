"""An evaluation as PNG plots: score histograms and ROC curves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_lodin.evaluation.document import (
    Results,
    Row,
    Scores,
    group_of,
    grouped,
    is_full_spectrum,
    shifted_in,
    spectrum_name,
)
from keras_lodin.metrics.figures import auroc, fpr_at_tpr, lowest_kept, threshold_at_tpr
from keras_lodin.metrics.sorted_scores import roc_points
from keras_lodin.report.plot_style import COLOURS, LINES, as_png, bin_edges, draw_shares, plain
from keras_lodin.report.tables import percent


def draw_plots(results: Results, scores: Scores) -> dict[str, dict[str, bytes]]:
    """Score histograms ("scores") and ROC curves ("roc") of each OOD set, as PNG.

    They are drawn once for files and page alike.
    """
    shifted = [one["name"] for one in shifted_in(results)]
    return {
        ood: {
            "scores": as_png(histogram_figure(results["id"]["name"], ood, scores, shifted)),
            "roc": as_png(roc_figure(results, ood, scores)),
        }
        for ood in dict.fromkeys(row["ood"] for row in results["results"])
    }


def draw_means(results: Results) -> bytes | None:
    """The mean AUROC of each group of OOD sets, as PNG; None where there are no groups."""
    return as_png(means_figure(results)) if grouped(results["results"]) else None


def plot_files(plots: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    """The plots of `draw_plots` by the names of their files: `NAME_scores.png`, `NAME_roc.png`."""
    return {
        f"{stem}_{kind}.png": png
        for stem, kinds in zip(_file_stems(plots), plots.values(), strict=True)
        for kind, png in kinds.items()
    }


def means_figure(results: Results) -> Figure:
    """Mean AUROC of each group, a line per detector, a colour per group; full spectrum hollow."""
    rows = [row for row in results["means"] if group_of(row) is not None]
    several = len(results["id"]["accuracy_by_model"]) > 1
    names = [f"{row['model']} / {row['detector']}" if several else row["detector"] for row in rows]
    groups = list(dict.fromkeys(group_of(row) for row in rows))
    lines = list(dict.fromkeys(names))
    figure = Figure(figsize=(6.4, 1.6 + 0.3 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for row, name in zip(rows, names, strict=True):
        colour = COLOURS[groups.index(group_of(row)) % len(COLOURS)]
        kind = f", {spectrum_name(row)}" if shifted_in(results) else ""
        axes.plot(
            100 * row["auroc"],
            lines.index(name),
            "o",
            color=colour,
            markerfacecolor="none" if is_full_spectrum(row) else colour,
            # One entry of the legend for each kind of mark.
            label=plain(f"{group_of(row)}{kind}") if name == lines[0] else None,
        )
    axes.axvline(50, color="0.7", linewidth=1, linestyle=":")
    axes.set_yticks(range(len(lines)), [plain(line) for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlabel("mean AUROC of the group's OOD sets, % (50: chance)")
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def histogram_figure(id_name: str, ood: str, scores: Scores, shifted: Sequence[str] = ()) -> Figure:
    """Histograms of ID and OOD scores, one panel per detector, with the threshold for 95 % TPR.

    All shifted data are one outline.
    """
    count = len(scores)
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.8 * columns, 2.9 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (detector, sets) in zip(panels, scores.items(), strict=False):
        _draw_histogram(axes, detector, sets[id_name], sets[ood], [sets[name] for name in shifted])
    for axes in panels[count:]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    texts = {
        "ID": f"ID: {id_name}",
        "OOD": f"OOD: {ood}",
        "shifted": f"shifted: {', '.join(shifted)}",
        "threshold": "threshold that promises to keep 95 % of ID",
    }
    figure.legend(
        handles,
        [plain(texts[label]) for label in labels],
        loc="outside upper center",
        ncols=len(labels),
        frameon=False,
    )
    figure.supxlabel("score (higher = more in-distribution)", fontsize="medium")
    figure.supylabel("share of samples", fontsize="medium")
    return figure


def roc_figure(results: Results, ood: str, scores: Scores) -> Figure:
    """ROC curves of all detectors on one OOD set, ID positive."""
    id_name = results["id"]["name"]
    figure = Figure(figsize=(6.0, 6.2 + 0.22 * len(scores)), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.axhline(0.95, color="0.7", linewidth=1, linestyle=":")
    axes.text(1.02, 0.95, "95 %", va="center")
    for (detector, sets), (colour, line) in zip(
        scores.items(), _line_styles(results["results"]), strict=True
    ):
        id_scores, ood_scores = sets[id_name], sets[ood]
        fpr, tpr = roc_points(id_scores, ood_scores)
        fpr95 = fpr_at_tpr(id_scores, ood_scores)
        area = auroc(id_scores, ood_scores)
        label = f"{detector}: AUROC {percent(area)} %, FPR95 {percent(fpr95)} %"
        axes.plot(fpr, tpr, color=colour, linestyle=line, label=plain(label))
        kept = np.mean(id_scores >= lowest_kept(id_scores, 0.95))
        axes.plot(fpr95, kept, color=colour, marker="o", markersize=4)
    axes.set_title(plain(f"ID: {id_name}\nOOD: {ood}"), fontsize="medium")
    axes.set_xlabel("share of OOD kept (false positive rate)")
    axes.set_ylabel("share of ID kept (true positive rate)")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    figure.legend(loc="outside lower center", frameon=False)
    return figure


def _draw_histogram(
    axes: Axes,
    detector: str,
    id_scores: np.ndarray,
    ood_scores: np.ndarray,
    shifted: Sequence[np.ndarray],
) -> None:
    threshold = threshold_at_tpr(id_scores, 0.95)
    edges = bin_edges([id_scores, ood_scores, *shifted])
    draw_shares(axes, id_scores, edges, COLOURS[0], "ID", opacity=0.35)
    draw_shares(axes, ood_scores, edges, COLOURS[1], "OOD", opacity=0.35)
    if shifted:
        draw_shares(axes, np.concatenate(shifted), edges, COLOURS[2], "shifted", opacity=0.0)
    if np.isfinite(threshold):  # too few samples have none
        axes.axvline(threshold, color="black", linewidth=1.2, linestyle="--", label="threshold")
    axes.set_title(plain(detector), fontsize="medium")


def _line_styles(rows: list[Row]) -> list[tuple[str, str]]:
    """Colour and kind of line of each detector: one colour per detector, one line per model."""
    # Rows and scores hold their detectors in the same order.
    curves = list(dict.fromkeys((row["model"], row["detector"]) for row in rows))
    models = list(dict.fromkeys(model for model, _ in curves))
    detectors = list(dict.fromkeys(detector for _, detector in curves))
    styles = []
    for model, detector in curves:
        turn, colour = divmod(detectors.index(detector), len(COLOURS))
        line = turn * len(models) + models.index(model)
        styles.append((COLOURS[colour], LINES[line % len(LINES)]))
    return styles


def _file_stems(names: Iterable[str]) -> list[str]:
    """A file name for each data set: letters, digits, dots and hyphens, no name twice."""
    stems: list[str] = []
    for name in names:
        # Paths are long, and tell most at their end.
        base = re.sub(r"[^\w.-]+", "_", name).strip("._")[-80:] or "data"
        # A letter may take four bytes, and a file's name 255.
        base = os.fsencode(base)[-200:].decode("utf-8", "ignore")
        stem, number = base, 1
        while stem in stems:
            number += 1
            stem = f"{base}_{number}"
        stems.append(stem)
    return stems
