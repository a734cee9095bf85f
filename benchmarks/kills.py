"""Kills commands at chosen and at random moments, starts them again, and compares.

    nice python benchmarks/kills.py --count 120 --output docs/results/kills.csv

Every command of the command line that writes is run once without a kill. Then it is run again and
again in a folder of its own and killed with SIGKILL: half of the times at a random moment, half of
them before the k-th call that changes the folder, which finds more. What stands there then is
looked at: no file that another program would open may be half-written. The command is started
again, and must leave what the uninterrupted one left: no file more or less, none with other
content, nothing hidden. Commands that replace find an earlier result in their place.

Processes are forks of one that has imported TensorFlow and not used it, so that a kill costs the
command's own work and not an import. Figures are compared to 1e-3, weights and scores to 1e-4:
processes that share processors add up in other orders.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from csv_rows import write_csv

from keras_lodin.workflows.recipes import SCALES
from keras_lodin_cli.main import main as command_line

COLUMNS = ("command", "aim", "moment", "after_kill", "restart", "difference")
ID = ("--id", "digits:0-2")
TINY = ("--ood", "noise:uniform:40")


@dataclass(frozen=True)
class Job:
    """A command to kill.

    Attributes:
        name: of the command.
        arguments: of the command line; `{made}` stands for the folder of what it reads, `{out}`
            for the folder that it writes in.
        before: arguments of the run whose result it replaces; None where it goes on instead.
    """

    name: str
    arguments: tuple[str, ...]
    before: tuple[str, ...] | None = None


JOBS = (
    Job(
        "train",
        (
            *("train", *ID, "--model", "{made}/start.keras", "--epochs", "3"),
            *("--batch-size", "128", "--output", "{out}/run"),
        ),
    ),
    Job(
        "tune",
        ("tune", "{made}/run", *ID, "--output", "{out}/d.keras"),
        ("tune", "{made}/run", *ID, "--detector", "msp", "--output", "{out}/d.keras"),
    ),
    *(
        Job(
            f"export {name}",
            ("export", "{made}/d.keras", "--format", name, "--output", f"{{out}}/{file}"),
            ("export", "{made}/msp.keras", "--format", name, "--output", f"{{out}}/{file}"),
        )
        for name, file in (("tf_saved_model", "sm"), ("onnx", "d.onnx"), ("litert", "d.tflite"))
    ),
    Job(
        "score",
        ("score", "{made}/d.onnx", "{made}/images", "--output", "{out}/scores.csv"),
        ("score", "{made}/msp.onnx", "{made}/images", "--output", "{out}/scores.csv"),
    ),
    Job(
        "evaluate",
        (
            *("evaluate", "{made}/run", *ID, *TINY, "--detector", "msp", "--resamples", "5"),
            *("--output", "{out}/results"),
        ),
        (
            *("evaluate", "{made}/run", *ID, "--ood", "noise:gaussian:40", "--detector", "msp"),
            *("--resamples", "5", "--output", "{out}/results"),
        ),
    ),
    Job(
        "gradients",
        ("gradients", "{made}/run", *ID, *TINY, "--limit", "20", "--output", "{out}/gradients"),
        ("gradients", "{made}/run", *ID, *TINY, "--limit", "10", "--output", "{out}/gradients"),
    ),
    Job(
        "sweep",
        (
            *("sweep", *ID, "--model", "{made}/start.keras", "--candidate", "label_smoothing:0.1"),
            *("--seeds", "2", "--epochs", "1", "--budget", "20", "--count", "20"),
            *("--detector", "msp", "--batch-size", "128", "--output", "{out}/sweep"),
        ),
    ),
    Job(
        "recipe run",
        ("recipe", "run", "msp-wrn", "--scale", "digits", "--seeds", "2", "--output", "{out}/r"),
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Kills, starts again, compares, and writes the table; 0 where all held."""
    drawn = random.Random(arguments.seed)
    jobs = [job for job in JOBS if arguments.only is None or job.name in arguments.only]
    with tempfile.TemporaryDirectory() as folder:
        made, home = Path(folder) / "made", Path(folder)
        _prepare(made)
        whole, seconds, steps = {}, {}, {}
        for job in jobs:
            out = home / f"whole {job.name}"
            _begin(job, made, out)
            before = _contents(out)
            start = time.monotonic()
            code, steps[job.name] = _started(job, made, out)
            assert code == 0, f"{job.name} failed without a kill"
            seconds[job.name] = time.monotonic() - start
            whole[job.name] = before, _contents(out)
            print(f"{job.name}: {seconds[job.name]:.1f} s, {steps[job.name]} steps", flush=True)
        rows = []
        for number in range(arguments.count):
            job = jobs[number % len(jobs)]
            aimed = number // len(jobs) % 2 == 0
            moment = (
                drawn.randrange(steps[job.name]) if aimed else drawn.random() * seconds[job.name]
            )
            row = _killed(job, made, home / str(number), aimed, moment, whole[job.name])
            rows.append(row)
            print(f"{number + 1}/{arguments.count}", *row.values(), flush=True)
            write_csv(arguments.output, rows, COLUMNS)
    failed = [row for row in rows if row["difference"] or row["after_kill"].startswith("half")]
    print(f"{len(rows)} kills, {len(failed)} that lost, doubled or changed something")
    return 1 if failed else 0


def _killed(
    job: Job, made: Path, out: Path, aimed: bool, moment: float, whole: tuple[Any, Any]
) -> dict[str, Any]:
    _begin(job, made, out)
    if aimed:
        code, _ = _started(job, made, out, stop_at=int(moment))
    else:
        code, _ = _started(job, made, out, after=moment)
    died = code == -signal.SIGKILL
    try:
        after = _state(_contents(out), *whole) if died else "ended before"
    except Exception as error:
        after = f"half-written: {type(error).__name__}: {error}"
    again, _ = _started(job, made, out)
    try:
        difference = _difference(whole[1], _contents(out, hidden=True))
    except Exception as error:
        difference = f"{type(error).__name__}: {error}"
    shutil.rmtree(out)
    return {
        "command": job.name,
        "aim": "step" if aimed else "random",
        "moment": f"{moment:.0f}" if aimed else f"{moment:.2f} s",
        "after_kill": after,
        "restart": again,
        "difference": difference,
    }


def _prepare(made: Path) -> None:
    """What the commands read, made in a process of its own."""

    def work() -> None:
        import keras
        from sklearn.datasets import load_digits

        made.mkdir()
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Flatten(), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
        keras.Sequential([keras.Input((8, 8, 1)), *layers]).save(made / "start.keras")
        command = ("train", *ID, "--model", made / "start.keras", "--epochs", "3")
        _call(*command, "--output", made / "run")
        for detector, stem in (("odin", "d"), ("msp", "msp")):
            target = made / f"{stem}.keras"
            _call("tune", made / "run", *ID, "--detector", detector, "--output", target)
            _call("export", target, "--format", "onnx", "--output", made / f"{stem}.onnx")
        (made / "images").mkdir()
        for number, image in enumerate(load_digits().images[:4]):
            path = made / "images" / f"{number}.png"
            keras.utils.save_img(path, image[..., None] * 15.9, scale=False)

    assert _forked(work) == 0, "what the commands read could not be made"


def _begin(job: Job, made: Path, out: Path) -> None:
    """The output folder, with what an earlier run of the command left there."""
    out.mkdir()
    if job.before is None:
        return
    kept = made / f"before {job.name}"
    if not kept.exists():
        kept.mkdir()
        assert _started(replace(job, arguments=job.before), made, kept)[0] == 0, job.name
    shutil.copytree(kept, out, dirs_exist_ok=True)


def _started(
    job: Job, made: Path, out: Path, stop_at: int | None = None, after: float | None = None
) -> tuple[int, int]:
    """Runs a command in a process of its own.

    Args:
        job: the command.
        made: what it reads.
        out: where it writes.
        stop_at: it is killed before this call that changes `out`; None for never.
        after: it is killed after so many seconds; None for never.

    Returns:
        its exit code, negative for a signal, and how many calls changed `out`.
    """
    count = out.with_name(out.name + ".steps")

    def work() -> None:
        steps = itertools.count()
        names = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate"}

        def hook(event: str, given: tuple[Any, ...]) -> None:
            is_step = event in names or (event == "open" and _writes(*given[1:]))
            if is_step and isinstance(given[0], (str, bytes, Path)):
                if not os.fsdecode(given[0]).startswith(f"{out}/"):
                    return
                number = next(steps)
                if stop_at is None:
                    with count.open("a") as file:
                        file.write(".")
                elif number == stop_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        _call(*(text.format(made=made, out=out) for text in job.arguments))

    code = _forked(work, after)
    steps = count.stat().st_size if count.exists() else 0
    count.unlink(missing_ok=True)
    return code, steps


def _writes(mode: str | None, flags: int) -> bool:
    return any(letter in (mode or "") for letter in "wax+") or bool(flags & os.O_CREAT)


def _call(*words: Any) -> None:
    """A command of the command line, in silence; recipes with a network of a few weights."""
    tiny = {"wide_resnet_40_4": "small_convnet", "resnet18": "small_convnet"}
    training = {"cifar10": {"epochs": 1, "augment": None}}
    SCALES["digits"] = replace(SCALES["digits"], networks=tiny, training=training)
    with contextlib.redirect_stdout(io.StringIO()):
        command_line([str(word) for word in words], standalone_mode=False)


def _forked(work: Callable[[], None], after: float | None = None) -> int:
    process = os.fork()
    if process == 0:
        code = 0
        try:
            work()
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            os._exit(code)
    if after is not None:
        ends = time.monotonic() + after
        while time.monotonic() < ends:
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


# --- What stands there ------------------------------------------------------------------------


def _contents(folder: Path, hidden: bool = False) -> dict[str, Any]:
    """Every file's content as values that can be compared; raises where one is half-written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_hidden = any(part.startswith(".") for part in Path(name).parts)
        if path.is_file() and (hidden or not is_hidden):
            found[name] = None if is_hidden else _content(path)
        elif path.is_dir() and hidden and is_hidden:
            found[name] = None
    return found


def _content(path: Path) -> Any:
    match path.suffix:
        case ".json":
            return _lasting(json.loads(path.read_text(encoding="utf-8")))
        case ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                return [[_number(cell) for cell in row] for row in csv.reader(file)]
        case ".keras":
            with zipfile.ZipFile(path) as archive:
                weights = io.BytesIO(archive.read("model.weights.h5"))
                config = json.loads(archive.read("config.json"))
            arrays: dict[str, Any] = {}
            with h5py.File(weights) as file:
                file.visititems(
                    lambda name, item: (
                        arrays.update({name: item[()]}) if hasattr(item, "dtype") else None
                    )
                )
            return config["class_name"], arrays
        case ".npz":
            with np.load(path) as file:
                return dict(file)
        case ".onnx":
            import onnx
            from onnx import numpy_helper

            graph = onnx.load(path).graph
            return sorted(float(numpy_helper.to_array(x).sum()) for x in graph.initializer)
        case ".html":
            assert path.read_text(encoding="utf-8").rstrip().endswith("</html>"), path
        case ".png":
            from PIL import Image

            with Image.open(path) as image:
                image.load()
        case ".tflite":
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None, path
    assert path.stat().st_size, path
    if "variables.data" in path.name:
        return np.sort(np.frombuffer(path.read_bytes()[: path.stat().st_size // 4 * 4], "uint8"))
    return path.suffix


def _lasting(document: Any) -> Any:
    """A document without what differs from run to run."""
    if isinstance(document, dict):
        passing = {"seconds", "versions", "command", "files", "bytes", "parity", "sha256"}
        passing |= (
            {"training", "evaluation"} if document.keys() <= {"training", "evaluation"} else set()
        )
        return {key: _lasting(value) for key, value in document.items() if key not in passing}
    if isinstance(document, list):
        return [_lasting(item) for item in document]
    return document


def _number(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return cell


def _state(found: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> str:
    """Whether what a kill left is what was there before, what comes, or on the way."""
    for name, state in ((new, "new"), (old, "old")):
        if not _difference(name, found):
            return state if found else "nothing"
    return "on the way"


def _difference(expected: Any, found: Any, place: str = "") -> str:
    """Where two contents differ; empty where they do not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            if key not in found:
                return f"{place}/{key} is missing"
            if key not in expected:
                return f"{place}/{key} is too much"
            difference = _difference(expected[key], found[key], f"{place}/{key}")
            if difference:
                return difference
        return ""
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(expected) != len(found):
            return f"{place} has {len(found)} items, not {len(expected)}"
        pairs = enumerate(zip(expected, found, strict=True))
        return next(filter(None, (_difference(*pair, f"{place}/{n}") for n, pair in pairs)), "")
    if isinstance(expected, (np.ndarray, np.generic)):
        if np.shape(expected) != np.shape(found):
            return f"{place} has another shape"
        same = np.allclose(np.asarray(expected, float), np.asarray(found, float), 1e-4, 1e-4)
        return "" if same else f"{place} has other values"
    if isinstance(expected, float) and isinstance(found, (int, float)):
        same = np.isclose(expected, found, rtol=1e-3, atol=1e-3, equal_nan=True)
        return "" if same else f"{place} is {found}, not {expected}"
    return "" if expected == found else f"{place} is {found!r:.80}, not {expected!r:.80}"


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=120, help="of kills")
    parser.add_argument("--seed", type=int, default=0, help="of their moments")
    parser.add_argument("--only", nargs="*", default=None, help="names of commands")
    parser.add_argument("--output", default="docs/results/kills.csv")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
