"""No bad input is taken in silence, and none ends in a traceback: see `tests/bad_inputs.py`."""

import subprocess
import sys

import pytest

from tests.bad_inputs import all_cases

# A prime, so that it takes part in every kind.
EVERY = 31


def wrong(cases):
    outcomes = [(case, case.outcome()) for case in cases]
    return [
        f"{case.kind} | {case.name} | {outcome}"
        for case, outcome in outcomes
        if outcome != ("accepted" if case.right else "refused")
    ]


def test_some_bad_inputs_are_refused_in_one_sentence(tmp_path):
    cases = all_cases(tmp_path)
    assert sum(not case.right for case in cases) >= 300
    assert sum(case.right for case in cases) >= 30
    assert not wrong(cases[::EVERY])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_all_bad_inputs_are_refused_in_one_sentence(seed, tmp_path):
    assert not wrong(all_cases(tmp_path, seed))


@pytest.mark.slow
def test_processes_end_as_the_runner_says(tmp_path):
    cases = [case for case in all_cases(tmp_path) if case.arguments and not case.right]
    for case in cases[:: len(cases) // 4]:
        done = subprocess.run(
            [sys.executable, "-m", "keras_lodin", *case.arguments], capture_output=True, text=True
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.count("Error: ") == 1
