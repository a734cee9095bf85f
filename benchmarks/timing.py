"""Times things against each other, in turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def seconds_of(function: Callable[[], object], times: int = 1) -> float:
    """Of one call, by the clock: the mean of so many in a row."""
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times


def processor_seconds_of(function: Callable[[], object]) -> float:
    """Of one call, by the processor time of this process, all of its threads."""
    start = time.process_time()
    function()
    return time.process_time() - start


def processor_seconds(command: Sequence[str], **settings: Any) -> float:
    """What a process took of all processors, its own processes included, but no more than that.

    Args:
        command: the program and its arguments; what it prints is not shown.
        settings: of `subprocess.run`.
    """

    def so_far() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = so_far()
    subprocess.run(command, check=True, capture_output=True, **settings)
    return so_far() - before


def in_turns(
    timers: Mapping[str, Callable[[], float]], rounds: int, *, uncounted: int = 1
) -> dict[str, list[float]]:
    """What each of some timers finds, A B C A B C, after rounds that are not counted.

    Args:
        timers: by name, functions that do something and return the seconds that it took.
        rounds: how many are counted.
        uncounted: how many come before. The first round compiles, and fills what Python and the
            system keep; 0 is for timers that do so each time.
    """
    found: dict[str, list[float]] = {name: [] for name in timers}
    for number in range(uncounted + rounds):
        for name, timer in timers.items():
            seconds = timer()
            if number >= uncounted:
                found[name].append(seconds)
    return found


def paired_ratios(ours: Callable[[], object], base: Callable[[], object], rounds: int) -> dict:
    """The time of `ours` over that of `base`, as `spread` has it, from pairs of runs in turns."""
    functions = {"ours": ours, "base": base}
    found = in_turns({k: lambda f=f: seconds_of(f) for k, f in functions.items()}, rounds)
    return spread(ratios(found["ours"], found["base"]))


def ratios(ours: Iterable[float], base: Iterable[float]) -> list[float]:
    """Those of the pairs."""
    return [own / other for own, other in zip(ours, base, strict=True)]


def spread(found: Sequence[float]) -> dict[str, float]:
    """`median`, `least` and `most` of some figures, to two places."""
    return {
        "median": round(statistics.median(found), 2),
        "least": round(min(found), 2),
        "most": round(max(found), 2),
    }
