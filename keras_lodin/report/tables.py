"""Figures as text, and the look of tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import Box
from rich.table import Table

# A rule under the header and nothing else, in characters that every terminal and file can hold.
_UNDERLINED_HEADER = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def terminal_table() -> Table:
    """A table without columns yet, for rich to draw."""
    return Table(box=_UNDERLINED_HEADER, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def percent(
    fraction: float,
    interval: Sequence[float] | None = None,
    *,
    digits: int = 1,
    between: str = " to ",
    sign: str = "",
) -> str:
    """A fraction in per cent, its interval in brackets.

    Args:
        fraction: the figure.
        interval: its bounds `(low, high)`, fractions too; None for none.
        digits: after the point.
        between: what stands between the bounds.
        sign: "+" for a difference, whose sign is always shown.
    """
    numbers = [f"{100 * value:{sign}.{digits}f}" for value in (fraction, *(interval or ()))]
    return numbers[0] if interval is None else f"{numbers[0]} ({between.join(numbers[1:])})"


def plus_minus(mean: float, half_width: float | None, sign: str = "") -> str:
    """A mean in per cent with the half-width of its interval, two digits after the point."""
    half = "" if half_width is None else f" ± {percent(half_width, digits=2)}"
    return percent(mean, digits=2, sign=sign) + half


def accuracy_text(accuracy: float | None) -> str:
    """An accuracy in per cent, or that there are no labels to know it by."""
    return "unknown (no labels)" if accuracy is None else f"{percent(accuracy)} %"


def skipped_lines(skipped: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    """A line for each data set of which files, `(path, reason)`, could not be read."""
    return [
        f"{name}: {len(files)} unreadable files left out, the first is {files[0][0]}"
        for name, files in skipped.items()
    ]
