"""Slices such as `[:80%]` of sources that come in one piece."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from keras_lodin.data.named_source import NamedSource

_SLICE = re.compile(r"(?P<path>.+?)(?P<slice>\[(?:-?\d+%?)?:(?:-?\d+%?)?\])?")
Sliced = TypeVar("Sliced", bound="SlicedPath")

# One order for every slice of every run, so that [:80%] and [80%:] never share an example.
_SHUFFLE_SEED = 0


def select(name: str, count: int, slice_text: str | None) -> np.ndarray:
    """Chooses the examples that a slice stands for.

    Args:
        name: The specification, for messages.
        count: How many examples there are.
        slice_text: A slice in the language of TensorFlow Datasets, such as `"[:80%]"`,
            `"[100:200]"` or `"[-10%:]"`; `None` for everything.

    Returns:
        The indices of the examples, an int64 array: in stored order for `None`, else a cut out of
        one fixed random order of all examples. `[:p%]` and `[p%:]` are disjoint and complete.

    Raises:
        ValueError: If the slice is empty.
    """
    if slice_text is None:
        return np.arange(count)
    start, _, stop = slice_text.strip("[]").partition(":")
    bounds = slice(
        _boundary(start, count) if start else None, _boundary(stop, count) if stop else None
    )
    chosen = np.random.default_rng(_SHUFFLE_SEED).permutation(count)[bounds]
    if not chosen.size:
        raise ValueError(
            f"The slice {slice_text} of {count} examples is empty. Expected one such as [:80%], "
            f"[80%:] or [100:200]. Received: {name!r}"
        )
    return chosen


def _boundary(text: str, count: int) -> int:
    place = round(count * int(text[:-1]) / 100) if text.endswith("%") else int(text)
    # Counted from the end here, not by numpy: a small negative percentage rounds to -0, and numpy
    # takes that for the beginning.
    return max(0, count + place) if text.startswith("-") else place


@dataclass(frozen=True)
class SlicedPath(NamedSource):
    """Files at a path, or a slice of them. Every part is the whole of that.

    Args:
        path: Where they are.
        slice_text: Which examples: see `select`.
    """

    path: str
    slice_text: str | None

    has_parts = False

    @classmethod
    def parse(cls: type[Sliced], argument: str) -> Sliced:
        """The path, and a slice in brackets behind it."""
        match = _SLICE.fullmatch(argument)
        if not match:
            raise ValueError("The path is missing.")
        # A shell leaves the `~` of `dir:~/images` as it is.
        return cls(os.path.expanduser(match["path"]), match["slice"])

    def overlaps(self: Sliced, other: Sliced, whole: bool) -> bool:
        """Whether place and slice are the same, however the place is written."""
        places = (os.path.realpath(self.path), os.path.realpath(other.path))
        return places[0] == places[1] and self.slice_text == other.slice_text

    def missing(self, data_dir: str | os.PathLike[str] | None) -> str | None:
        """Whether there is anything at the path."""
        return None if os.path.exists(self.path) else f"there is nothing at {self.path}"
