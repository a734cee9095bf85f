"""How benchmarks time things against each other."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def timing():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
    try:
        yield importlib.import_module("timing")
    finally:
        sys.path.pop(0)


def test_things_are_timed_in_turns_and_the_first_round_is_not_counted(timing):
    order, seconds = [], iter(range(100))

    def timer(name):
        order.append(name)
        return next(seconds)

    found = timing.in_turns({name: lambda name=name: timer(name) for name in "ab"}, rounds=2)
    assert order == list("ababab")
    assert found == {"a": [2, 4], "b": [3, 5]}


def test_a_ratio_is_that_of_a_pair_and_not_of_the_medians(timing):
    # The machine was ten times as busy in the second round: both took ten times as long.
    found = timing.ratios([2.0, 20.0, 3.0], [1.0, 10.0, 1.0])
    assert timing.spread(found) == {"median": 2.0, "least": 2.0, "most": 3.0}


def test_the_seconds_of_many_calls_are_their_mean(timing, monkeypatch):
    clock = iter([10.0, 16.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    calls = []
    assert timing.seconds_of(lambda: calls.append(None), times=3) == 2.0
    assert len(calls) == 3


def test_processor_seconds_of_a_call_leave_waiting_out(timing):
    assert timing.processor_seconds_of(lambda: timing.time.sleep(0.3)) < 0.2


def test_processor_seconds_are_those_of_a_process_and_not_of_the_clock(timing):
    waits = "import time; time.sleep(0.3)"
    works = "import time\nwhile time.process_time() < 0.3: pass"
    waiting, working = (
        timing.processor_seconds([sys.executable, "-S", "-c", program])
        for program in (waits, works)
    )
    assert working > 0.25
    assert waiting < working - 0.1
