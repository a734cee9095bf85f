"""Slices such as `[:80%]` of sources that come in one piece."""

from __future__ import annotations

import numpy as np

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
