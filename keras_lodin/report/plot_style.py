"""What all plots have in common: colours that everybody tells apart, bins, names as they are."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_lodin.utils.foreign_text import shown

# Colours that people with any colour vision tell apart (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
_BINS = 60
_LONGEST_LINE = 100


def as_png(figure: Figure) -> bytes:
    """A figure as PNG, sharp enough for print."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()


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


def bin_edges(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Bins for the finite values of all arrays.

    A few far values must not squeeze the rest into one bin: the end bins hold what lies beyond.
    """
    finite = [array[np.isfinite(array)] for array in arrays]
    ends = [np.percentile(array, [0.5, 99.5], method="nearest") for array in finite if array.size]
    low, high = (float(np.min(ends)), float(np.max(ends))) if ends else (0.0, 1.0)
    return bins_between(low, high)


def bins_between(low: float, high: float) -> np.ndarray:
    """As many bins as every histogram has."""
    return np.histogram_bin_edges([], bins=_BINS, range=(low, high))


def draw_shares(
    axes: Axes,
    values: np.ndarray,
    edges: np.ndarray,
    colour: str,
    label: str,
    *,
    opacity: float,
    linestyle: str = "-",
    linewidth: float = 1.0,
) -> None:
    """Draws the finite values, `(count,)`, as a histogram of their shares of all values.

    The end bins hold what lies beyond. An opacity of 0 leaves the outline alone.
    """
    finite = values[np.isfinite(values)]
    axes.hist(
        np.clip(finite, edges[0], edges[-1]),
        bins=edges.tolist(),
        weights=np.full(finite.size, 1.0 / values.size),
        histtype="stepfilled",
        facecolor=(colour, opacity),
        edgecolor=colour,
        linestyle=linestyle,
        linewidth=linewidth,
        label=label,
    )
    axes.spines[["top", "right"]].set_visible(False)
