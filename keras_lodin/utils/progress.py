"""Progress of long work: a bar on standard error when a person is watching, silence otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from keras_lodin.utils.foreign_text import shown

T = TypeVar("T")


def track(
    items: Iterable[T], description: str, verbose: int | str = "auto", total: int | None = None
) -> Generator[T, None, None]:
    """Yields the items, drawing a progress bar.

    Args:
        items: what to go through.
        description: what is being done, for the reader of the bar.
        verbose: 0 for silence, 1 for a bar, "auto" for a bar when standard error is a terminal.
        total: number of items, where it is known.

    Raises:
        ValueError: for another `verbose`.
    """
    with _bar(verbose) as progress:
        yield from progress.track(items, description=shown(description), total=total)


@contextlib.contextmanager
def counting(
    description: str, total: int, verbose: int | str = "auto"
) -> Iterator[Callable[[int], None]]:
    """Draws a progress bar of work that is done in pieces of several sizes.

    Args:
        description: what is being done, for the reader of the bar.
        total: of the pieces.
        verbose: 0 for silence, 1 for a bar, "auto" for a bar when standard error is a terminal.

    Yields:
        a function that is told the size of a piece that is done.

    Raises:
        ValueError: for another `verbose`.
    """
    with _bar(verbose) as progress:
        task = progress.add_task(shown(description), total=total)
        yield lambda count: progress.advance(task, count)


def _bar(verbose: int | str) -> Progress:
    if verbose not in (0, 1, "auto"):
        raise ValueError(f"`verbose` must be 0, 1 or 'auto'. Received: verbose={verbose!r}")
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    hidden = verbose == 0 or (verbose == "auto" and not console.is_terminal)
    return Progress(*columns, console=console, disable=hidden, transient=True)


@contextlib.contextmanager
def waiting(description: str, verbose: bool = True) -> Iterator[None]:
    """Shows that work goes on whose length nobody knows, when standard error is a terminal.

    Args:
        description: what is being done.
        verbose: whether to show anything at all.
    """
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    hidden = not (verbose and console.is_terminal)
    with Progress(*columns, console=console, disable=hidden, transient=True) as progress:
        progress.add_task(shown(description), total=None)
        yield
