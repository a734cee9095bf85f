"""Whether everything is right on a GPU, and what it costs there: one command, six minutes.

    python benchmarks/gpu_check.py pack
    python benchmarks/gpu_check.py run --output docs/results/gpu

`run` needs JAX or PyTorch, no TensorFlow and no network. What else a bare machine lacks, Keras for
one, it installs beside itself from the wheels of `.gpu/wheels`, which `pack` downloads where there
is a network and which come along with the checkout. Each backend that is there runs in a process
of its own, for its share of `--budget` seconds: first what must be right (GQ against float64 on
the CPU, detectors and an epoch of every form against what the CPU computed), then what a step
costs over a plain one, ODIN and `evaluate`, the cheap and telling rows first. Every row is written
at once; rows that there is no time for are named, and the same command again goes on with them.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / ".gpu" / "wheels"
SITE = ROOT / ".gpu" / f"site-{sys.version_info.major}.{sys.version_info.minor}"
BACKENDS = ("jax", "torch", "tensorflow")
# How long a process may outlive its share, to come to the end of a row.
_GRACE_SECONDS = 5.0
# Less is not enough to start a backend and check anything.
_LEAST_SECONDS = 20.0
_COMPILED_IN_A_HURRY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def main() -> None:
    options = _parser().parse_args()
    options.command(options)


def _pack(options: argparse.Namespace) -> None:
    from device.wheels import pack

    pack(WHEELS, options.python)
    size = sum(wheel.stat().st_size for wheel in WHEELS.glob("*.whl"))
    print(f"{WHEELS}: {size / 2**20:.0f} MiB")


def _run(options: argparse.Namespace) -> None:
    deadline = time.monotonic() + options.budget
    from device.wheels import describe_checkout, install_missing

    describe_checkout(ROOT, SITE)
    installed = install_missing(WHEELS, SITE)
    if installed:
        print(f"installed from {WHEELS}: {', '.join(installed)}", flush=True)
    backends = options.backend or [
        name for name in BACKENDS[:2] if importlib.util.find_spec(name) is not None
    ]
    if not backends:
        raise SystemExit("Neither JAX nor PyTorch can be imported. Received: " + sys.executable)
    ended = True
    for number, backend in enumerate(backends):
        share = (deadline - time.monotonic()) / (len(backends) - number)
        ended &= _run_backend(backend, share, options)
    if not ended:
        raise SystemExit(1)


def _run_backend(backend: str, seconds: float, options: argparse.Namespace) -> bool:
    """Runs a backend's process for so long, again if a row ends it; whether it found all right."""
    deadline = time.monotonic() + seconds
    crashed = False
    while deadline - time.monotonic() > _LEAST_SECONDS:
        left = deadline - time.monotonic() - _GRACE_SECONDS
        command = [sys.executable, __file__, "child", "--budget", str(left)]
        command += ["--output", str(options.output)]
        command += ["--tiny"] * options.tiny + ["--crashed"] * crashed
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep), str(SITE)]
            ),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        if options.tiny:  # nobody reads these times
            environment["XLA_FLAGS"] = _COMPILED_IN_A_HURRY
        print(f"{backend}: {left:.0f} s", flush=True)
        child = subprocess.Popen(command, env=environment)
        try:
            code = child.wait(timeout=left + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            # A compilation cannot be interrupted from within.
            child.kill()
            child.wait()
            print(f"{backend}: stopped at the end of its time", flush=True)
            return True
        if code in (0, 1):
            return code == 0
        print(f"{backend}: the process ended with {code}", flush=True)
        crashed = True
    return False


def _child(options: argparse.Namespace) -> None:
    deadline = time.monotonic() + options.budget
    from device import costs, runtime
    from device.checks import FIRST_CHECKS, checks
    from device.record import Record

    sizes = costs.TINY if options.tiny else costs.GPU
    record = Record(options.output, {**runtime.header(), "tiny": options.tiny})
    if options.crashed:
        record.crashed()
    print(f"{runtime.BACKEND} on {runtime.header()['device']}: {record.path}", flush=True)
    queue = Queue(record, deadline)
    found = checks()
    network = sizes.networks[0]
    rows = costs.steps(sizes)
    ask(queue, found, FIRST_CHECKS)
    time_steps(queue, rows[:4], sizes, record)
    queue.run(f"scores: {network}", lambda: costs.timed_scoring(network, sizes), estimate=20.0)
    ask(queue, found, len(found))
    # Once more as it is by default, where some devices round more: said, and no failure.
    name = next(iter(found))
    queue.run(f"{name}, default precision", found[name], estimate=0.0)
    time_steps(queue, rows, sizes, record)
    failed = [
        name
        for name, row in record.rows.items()
        if row.get("passed") is False and "default" not in name
    ]
    if failed:
        print(f"NOT RIGHT: {', '.join(failed)}", flush=True)
    raise SystemExit(bool(failed))


def ask(queue: Queue, found: dict[str, Callable[[], dict[str, Any]]], count: int) -> None:
    """Runs as many of the checks, where float32 is all of float32."""
    from device import runtime

    with runtime.whole_float32():
        for name, check in list(found.items())[:count]:
            queue.run(name, check, estimate=0.0)


def time_steps(queue: Queue, rows: list[Any], sizes: Any, record: Any) -> None:
    """Times rows, in their order."""
    from device import costs

    for row in rows:
        queue.run(
            row.name,
            lambda row=row: _with_ratio(costs.timed_step(row, sizes), row, record),
            estimate=_estimate(row, record),
        )


class Queue:
    """Runs what is missing of a record, one after the other, as long as the time lasts.

    Args:
        record: what it goes to.
        deadline: by `time.monotonic`.
    """

    def __init__(self, record: Any, deadline: float) -> None:
        self._record, self._deadline = record, deadline

    def run(self, name: str, function: Callable[[], dict[str, Any]], estimate: float) -> None:
        """Adds a row, or what kept it from being made, or says that there is no time for it."""
        from device import runtime

        if self._record.done(name):
            return
        left = self._deadline - time.monotonic()
        if estimate >= left or left <= 0:
            self._record.skip(name, estimate, left)
            print(f"{name}: skipped, needs {estimate:.0f} s of {left:.0f}", flush=True)
            return
        self._record.begin(name)
        began = time.monotonic()
        try:
            runtime.forget()
            row = function()
        except Exception as error:  # the other rows can still be made
            row = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
            if runtime.out_of_memory(error):
                row["out_of_memory"] = True
            else:
                row["passed"] = False
                traceback.print_exc()
        row["seconds"] = round(time.monotonic() - began, 1)
        self._record.add(name, row)
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in row.items())}", flush=True)


def _with_ratio(figures: dict[str, Any], row: Any, record: Any) -> dict[str, Any]:
    plain = record.rows.get(row.plain.name, {}).get("milliseconds")
    if row.plain == row or plain is None:
        return figures
    return {"ratio": round(figures["milliseconds"] / plain, 2), **figures}


def _estimate(row: Any, record: Any) -> float:
    """Seconds that a row will take: compiling as the longest so far, and a few steps."""
    done = [one for one in record.rows.values() if "compile_seconds" in one]
    compiling = max((one["compile_seconds"] for one in done), default=10.0)
    plain = record.rows.get(row.plain.name, {}).get("milliseconds", 10.0) / 1000
    return compiling + 6 * row.count * plain + 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack", help="download what a bare machine lacks")
    packing.set_defaults(command=_pack)
    packing.add_argument("--python", default="3.12", help="version there (default: %(default)s)")
    running = commands.add_parser("run", help="check and time the device")
    running.set_defaults(command=_run)
    running.add_argument("--backend", action="append", choices=BACKENDS, help="only this one")
    child = commands.add_parser("child")
    child.set_defaults(command=_child)
    child.add_argument("--crashed", action="store_true")
    for one in (running, child):
        one.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "gpu")
        one.add_argument("--budget", type=float, default=340.0, help="seconds")
        one.add_argument("--tiny", action="store_true", help="all of it in a minute on a CPU")
    return parser


if __name__ == "__main__":
    main()
