"""An evaluation as PNG plots: score histograms and ROC curves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from keras_lodin.evaluation.document import Results, Row, Scores
from keras_lodin.metrics.figures import auroc, fpr_at_tpr, lowest_kept, threshold_at_tpr
from keras_lodin.report.plot_style import COLOURS, LINES, as_png, bin_edges, draw_shares, plain
from keras_lodin.report.tables import percent


def draw_plots(results: Results, scores: Scores) -> dict[str, dict[str, bytes]]:
    """Score histograms ("scores") and ROC curves ("roc") of each OOD set, as PNG.

    They are drawn once for files and page alike.
    """
    return {
        ood: {
            "scores": as_png(histogram_figure(results["id"]["name"], ood, scores)),
            "roc": as_png(roc_figure(results, ood, scores)),
        }
        for ood in dict.fromkeys(row["ood"] for row in results["results"])
    }


def plot_files(plots: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    """The plots of `draw_plots` by the names of their files: `NAME_scores.png`, `NAME_roc.png`."""
    return {
        f"{stem}_{kind}.png": png
        for stem, kinds in zip(_file_stems(plots), plots.values(), strict=True)
        for kind, png in kinds.items()
    }


def histogram_figure(id_name: str, ood: str, scores: Scores) -> Figure:
    """Histograms of ID and OOD scores, one panel per detector, with the threshold for 95 % TPR."""
    count = len(scores)
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.8 * columns, 2.9 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (detector, sets) in zip(panels, scores.items(), strict=False):
        _draw_histogram(axes, detector, sets[id_name], sets[ood])
    for axes in panels[count:]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    texts = {
        "ID": f"ID: {id_name}",
        "OOD": f"OOD: {ood}",
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
        is_id = np.arange(id_scores.size + ood_scores.size) < id_scores.size
        fpr, tpr, _ = roc_curve(is_id, np.concatenate([id_scores, ood_scores]))
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
    axes: Axes, detector: str, id_scores: np.ndarray, ood_scores: np.ndarray
) -> None:
    threshold = threshold_at_tpr(id_scores, 0.95)
    edges = bin_edges([id_scores, ood_scores])
    draw_shares(axes, id_scores, edges, COLOURS[0], "ID", opacity=0.35)
    draw_shares(axes, ood_scores, edges, COLOURS[1], "OOD", opacity=0.35)
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
