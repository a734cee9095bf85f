"""Times two functions against each other, in turns, so that a busy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def paired_ratios(ours: Callable[[], object], base: Callable[[], object], rounds: int) -> dict:
    """The time of `ours` over that of `base`, from pairs of runs after one that is not counted.

    Returns:
        `median`, `least` and `most` of the pairs' ratios.
    """
    ours(), base()
    found = []
    for _ in range(rounds):
        seconds = []
        for function in (ours, base):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        found.append(seconds[0] / seconds[1])
    return {
        "median": round(statistics.median(found), 2),
        "least": round(min(found), 2),
        "most": round(max(found), 2),
    }
