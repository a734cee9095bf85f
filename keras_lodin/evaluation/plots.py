"""An `Evaluation` as PNG plots: score histograms and ROC curves."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from keras_lodin.evaluation.files import write_file
from keras_lodin.metrics.figures import auroc, fpr_at_tpr, lowest_kept, threshold_at_tpr
from keras_lodin.utils.foreign_text import shown

if TYPE_CHECKING:
    from keras_lodin.evaluation.one_pass import Evaluation

# Colours that people with any colour vision tell apart (Okabe and Ito 2008).
_ID_COLOUR, _OOD_COLOUR = "#0072B2", "#D55E00"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
BINS = 60
_LONGEST_LINE = 100


def draw_plots(evaluation: Evaluation) -> dict[str, dict[str, bytes]]:
    """Draws score histograms and ROC curves of each OOD set, once for files and page alike.

    Args:
        evaluation: an `Evaluation`.

    Returns:
        for each OOD set, "scores" and "roc" as PNG.
    """
    return {
        ood: {
            "scores": as_png(histogram_figure(evaluation, ood)),
            "roc": as_png(roc_figure(evaluation, ood)),
        }
        for ood in dict.fromkeys(row["ood"] for row in evaluation.rows)
    }


def write_plots(plots: Mapping[str, Mapping[str, bytes]], folder: str | os.PathLike[str]) -> None:
    """Writes `NAME_scores.png` and `NAME_roc.png` for each OOD set.

    Args:
        plots: of `draw_plots`.
        folder: where to put them; made if missing.

    Raises:
        OSError: if a file cannot be written.
    """
    pngs = [png for kinds in plots.values() for png in kinds.values()]
    for name, png in zip(plot_names(plots), pngs, strict=True):
        write_file(Path(folder) / name, png)


def plot_names(plots: Mapping[str, Mapping[str, bytes]]) -> list[str]:
    """The names of the files that `write_plots` writes, in order."""
    return [
        f"{stem}_{kind}.png"
        for stem, kinds in zip(_file_stems(plots), plots.values(), strict=True)
        for kind in kinds
    ]


def as_png(figure: Figure) -> bytes:
    """A figure as PNG, sharp enough for print."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()


def histogram_figure(evaluation: Evaluation, ood: str) -> Figure:
    """Histograms of ID and OOD scores, one panel per detector, with the threshold for 95 % TPR.

    Args:
        evaluation: an `Evaluation`.
        ood: name of the OOD set.

    Returns:
        a matplotlib figure that belongs to no window.
    """
    id_name, count = evaluation.id["name"], len(evaluation.scores)
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.8 * columns, 2.9 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (detector, scores) in zip(panels, evaluation.scores.items(), strict=False):
        _draw_histogram(axes, detector, scores[id_name], scores[ood])
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


def roc_figure(evaluation: Evaluation, ood: str) -> Figure:
    """ROC curves of all detectors on one OOD set, ID positive.

    Args:
        evaluation: an `Evaluation`.
        ood: name of the OOD set.

    Returns:
        a matplotlib figure that belongs to no window.
    """
    id_name = evaluation.id["name"]
    figure = Figure(figsize=(6.0, 6.2 + 0.22 * len(evaluation.scores)), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.axhline(0.95, color="0.7", linewidth=1, linestyle=":")
    axes.text(1.02, 0.95, "95 %", va="center")
    for (detector, scores), (colour, line) in zip(
        evaluation.scores.items(), _line_styles(evaluation), strict=True
    ):
        id_scores, ood_scores = scores[id_name], scores[ood]
        is_id = np.arange(id_scores.size + ood_scores.size) < id_scores.size
        fpr, tpr, _ = roc_curve(is_id, np.concatenate([id_scores, ood_scores]))
        fpr95 = fpr_at_tpr(id_scores, ood_scores)
        label = (
            f"{detector}: AUROC {100 * auroc(id_scores, ood_scores):.1f} %, "
            f"FPR95 {100 * fpr95:.1f} %"
        )
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
    # A few far scores must not squeeze the rest into one bin: the end bins hold what lies beyond.
    ends = [
        np.percentile(scores, [0.5, 99.5], method="nearest") for scores in (id_scores, ood_scores)
    ]
    low, high = np.min(ends), np.max(ends)
    edges = np.histogram_bin_edges([], bins=BINS, range=(float(low), float(high)))
    for label, scores, colour in (
        ("ID", id_scores, _ID_COLOUR),
        ("OOD", ood_scores, _OOD_COLOUR),
    ):
        axes.hist(
            np.clip(scores, edges[0], edges[-1]),
            bins=edges.tolist(),
            weights=np.full(scores.size, 1.0 / scores.size),
            histtype="stepfilled",
            facecolor=(colour, 0.35),
            edgecolor=colour,
            label=label,
        )
    if np.isfinite(threshold):  # too few samples have none
        axes.axvline(threshold, color="black", linewidth=1.2, linestyle="--", label="threshold")
    axes.set_title(plain(detector), fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)


def _line_styles(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Colour and kind of line of each detector: one colour per detector, one line per model."""
    # Rows and scores hold their detectors in the same order.
    curves = list(dict.fromkeys((row["model"], row["detector"]) for row in evaluation.rows))
    models = list(dict.fromkeys(model for model, _ in curves))
    detectors = list(dict.fromkeys(detector for _, detector in curves))
    styles = []
    for model, detector in curves:
        turn, colour = divmod(detectors.index(detector), len(COLOURS))
        line = turn * len(models) + models.index(model)
        styles.append((COLOURS[colour], LINES[line % len(LINES)]))
    return styles


def plain(text: str) -> str:
    """Text that matplotlib does not read as mathematics, and that leaves room for the plot."""
    lines = [
        # Paths are long, and tell most at their end.
        line if len(line) <= _LONGEST_LINE else f"…{line[1 - _LONGEST_LINE :]}"
        for line in shown(text, keep="\n").split("\n")
    ]
    # What begins with an underscore, matplotlib leaves out of a legend.
    space = " " if text.startswith("_") else ""
    return space + "\n".join(lines).replace("$", r"\$")


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
