"""What GQ and ODIN cost on each of Keras's backends, on the same cores, network and images.

    python benchmarks/backends.py --output docs/results/backends \
        --python jax=jax-env/bin/python --python torch=torch-env/bin/python

Every backend runs in a process of its own, all alive at once and asked in turn, so that a busy
machine slows all of them: in each round every one trains an epoch plainly and one with each
estimator, and scores the same images plainly and by ODIN. Ratios are those of a round, and the
table has their median. Rounds are added until `--budget` seconds are over, compiling included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timing

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("tensorflow", "jax", "torch")
STEPS = ("plain", "exact", "sampled", "projected")
SCORES = ("plain predict", "ODIN predict")
_WHATS = (*STEPS, *SCORES)
COLUMNS = (
    *("backend", "what", "milliseconds", "images_per_second"),
    *("ratio", "least", "most", "rounds", "compile_seconds"),
)
# Of an epoch of steps: enough to hide the clock, few enough for many rounds.
_EPOCH_SECONDS = 1.0
_LEAST_ROUNDS = 3


def main() -> None:
    options = _parser().parse_args()
    if options.worker:
        _work(json.loads(options.worker))
        return
    deadline = time.monotonic() + options.budget
    pythons = dict(choice.split("=", 1) for choice in options.python)
    task = {"network": options.network, "batch": options.batch, "images": options.images}
    workers = {
        name: Worker(name, pythons.get(name, sys.executable), task)
        for name in options.backend or BACKENDS
    }
    try:
        prepared = {name: worker.ask({"prepare": True}) for name, worker in workers.items()}
        for name, facts in prepared.items():
            print(name, json.dumps(facts), flush=True)
        rounds = _rounds(workers, deadline)
    finally:
        for worker in workers.values():
            worker.close()
    rows = [row for name in workers for row in _rows(name, rounds, prepared[name], task)]
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if options.output:
        _write(options.output, rows, {name: facts["machine"] for name, facts in prepared.items()})


class Worker:
    """A process with one backend, which answers one line for each that it is sent.

    Args:
        backend: Keras's name of it.
        python: the interpreter of an environment that has it.
        task: network, batch and images.
    """

    def __init__(self, backend: str, python: str, task: dict[str, Any]) -> None:
        self._backend = backend
        self._process = subprocess.Popen(
            [python, __file__, "--worker", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                # Waiting threads that spin would slow the others.
                "OMP_WAIT_POLICY": "PASSIVE",
            },
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its answer to a request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"The process of {self._backend} ended; its error is above.")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def _rounds(workers: dict[str, Worker], deadline: float) -> dict[str, list[dict[str, float]]]:
    """Seconds of everything, round by round, for each backend."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    longest, count = 0.0, 0
    while count < _LEAST_ROUNDS or time.monotonic() + longest < deadline:
        began = time.monotonic()
        for name, worker in workers.items():
            found[name].append({what: worker.ask({"time": what})["seconds"] for what in _WHATS})
        longest, count = max(longest, time.monotonic() - began), count + 1
        print(f"round {count}: {time.monotonic() - began:.0f} s", flush=True)
    return found


def _rows(
    backend: str,
    rounds: dict[str, list[dict[str, float]]],
    prepared: dict[str, Any],
    task: dict[str, Any],
) -> list[dict[str, Any]]:
    own = rounds[backend]
    rows = []
    for what in _WHATS:
        base = "plain predict" if what in SCORES else "plain"
        seconds, bases = ([round_[name] for round_ in own] for name in (what, base))
        median = statistics.median(seconds)
        ratio = timing.spread(timing.ratios(seconds, bases))
        count = task["images"] if what in SCORES else task["batch"]
        rows.append(
            {
                "backend": backend,
                "what": what,
                "milliseconds": round(1000 * median, 1),
                "images_per_second": round(count / median, 1),
                "ratio": ratio["median"],
                "least": ratio["least"],
                "most": ratio["most"],
                "rounds": len(own),
                "compile_seconds": round(prepared["compile_seconds"][what], 1),
            }
        )
    return rows


def _work(task: dict[str, Any]) -> None:
    """Answers requests, one a line: to prepare everything, or to time one thing."""
    # Keras and others may print; only answers go where they are read.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    functions: dict[str, Callable[[], float]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            answer = _prepare(task, functions)
        else:
            answer = {"seconds": functions[request["time"]]()}
        print(json.dumps(answer), file=answers, flush=True)


def _prepare(task: dict[str, Any], functions: dict[str, Callable[[], float]]) -> dict[str, Any]:
    import keras
    from epochs import ESTIMATORS, Scoring, Training
    from gq_cost import describe_machine

    once: dict[str, float] = {}
    for name in STEPS:
        training = Training(task["network"], 10, ESTIMATORS.get(name), task["batch"])
        once[name] = training.warm_up()
        count = max(1, round(_EPOCH_SECONDS / training.step_seconds(1)))
        functions[name] = partial(training.step_seconds, count)
    scoring = Scoring(task["network"], task["images"], min(128, task["images"]))
    for name, kind in zip(SCORES, ("plain", "odin"), strict=True):
        first = scoring.seconds(kind)
        once[name] = max(0.0, first - scoring.seconds(kind))
        functions[name] = partial(scoring.seconds, kind)
    backend = keras.backend.backend()
    return {"machine": describe_machine(backend, "keras", "numpy"), "compile_seconds": once}


def _write(folder: Path, rows: list[dict[str, Any]], machines: dict[str, dict[str, Any]]) -> None:
    sys.path.insert(0, str(ROOT))
    from csv_rows import write_csv
    from gq_cost import write_text

    write_csv(folder / "costs.csv", rows, COLUMNS)
    write_text(folder / "machine.json", json.dumps(machines, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for costs.csv and machine.json")
    parser.add_argument(
        *("--python",),
        action="append",
        default=[],
        metavar="BACKEND=PATH",
        help="the interpreter of a backend; this one for those not named (repeatable)",
    )
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="only this one")
    parser.add_argument("--budget", type=float, default=450.0, help="seconds")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=512, help="images to score")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
