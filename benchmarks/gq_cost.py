"""What a training step with the Gradient Quotient costs, over a plain step of the same network.

    python benchmarks/gq_cost.py --output docs/results/gq_cost

One table of ratios: step time and peak memory for each form and estimator, number of classes and
network; how they grow with classes, batch and pixels; and a plot. Times are processor seconds,
medians over pairs measured in turn within one process, so that a machine's moods cancel. The peak
memory is what a process of its own needs above what it held before its first step. A setting whose
step would take longer than `--patience` seconds is left out of the table. Each row is written when
it is there, and those that the folder has are not measured again; the memory comes last.

The plain step is the same network's with `gq_weight=0`: cross-entropy and SGD with momentum.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from csv_rows import read_csv, write_csv
from timing import in_turns, processor_seconds_of, ratios, seconds_of, spread

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SETTINGS: dict[str, dict[str, Any]] = {
    "softmax, exact": {},
    "softmax, exact, chunk_size=3": {"chunk_size": 3},
    "softmax, sampled, K=1": {"estimator": "sampled"},
    "softmax, sampled, K=4": {"estimator": "sampled", "samples": 4},
    "softmax, projected, K=1": {"estimator": "projected"},
    "softmax, projected, K=4": {"estimator": "projected", "samples": 4},
    "softmax, projected, K=1, every=4": {"estimator": "projected", "every": 4},
    "logits, exact": {"form": "logits"},
    "logits, sampled, K=1": {"form": "logits", "estimator": "sampled"},
    "pooled, exact": {"form": "pooled"},
}
# Settings whose cost does not grow with the number of classes.
FLAT = [name for name in SETTINGS if "pooled" in name or "exact" not in name]

BRIEF = ["softmax, sampled, K=1", "softmax, projected, K=1", "pooled, exact"]

# Network, classes, batch, pixels, settings.
TABLE: list[tuple[str, int, int, int, list[str]]] = [
    ("resnet20", 10, 32, 32, list(SETTINGS)),
    ("efficientnet_lite0", 1000, 8, 224, FLAT),
    ("resnet18", 10, 32, 32, ["softmax, exact", *FLAT]),
    ("resnet20", 1000, 32, 32, FLAT),
    ("resnet20", 100, 32, 32, ["softmax, exact", *FLAT]),
    ("resnet18", 1000, 32, 32, FLAT),
    ("wide_resnet_40_4", 10, 32, 32, BRIEF),
]
GROWING = ["softmax, exact", "softmax, sampled, K=1", "softmax, projected, K=1"]
GROWTH: dict[str, list[tuple[str, int, int, int, list[str]]]] = {
    "classes": [("resnet20", n, 32, 32, GROWING) for n in (5, 10, 20, 40)],
    "batch": [("resnet20", 10, batch, 32, GROWING) for batch in (8, 16, 32, 64)],
    "pixels": [("resnet20", 10, 32, pixels, GROWING) for pixels in (16, 32, 64)],
}
COLUMNS = (
    "network",
    "classes",
    "batch",
    "pixels",
    "setting",
    "time_ratio",
    "least",
    "most",
    "memory_ratio",
    "plain_seconds",
    "trace_seconds",
    "rounds",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default=None, help="folder for table, growth, plot and machine")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--patience", type=float, default=30.0, help="seconds for one step at most")
    parser.add_argument("--models", default="../shared/data/models", help="trained models' folder")
    parser.add_argument("--network", action="append", help="only this network (repeatable)")
    parser.add_argument("--classes", type=int, action="append", help="only so many (repeatable)")
    parser.add_argument("--setting", action="append", help="only this setting (repeatable)")
    parser.add_argument("--no-growth", action="store_true", help="the table alone")
    parser.add_argument("--child", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task = json.loads(options.child)
        measure = peak_memory if "memory" in task else step_times
        print(json.dumps(measure(task)))
        return

    machine = describe_machine("tensorflow", "keras", "numpy")
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    wanted = [
        case
        for case in TABLE
        if (not options.network or case[0] in options.network)
        and (not options.classes or case[1] in options.classes)
    ]
    folder = Path(options.output) if options.output else None
    table = Rows(folder and folder / "table.csv", COLUMNS)
    for case in wanted:
        add_rows(table, {}, case, options)
    add_memory(table, options)
    growth = Rows(folder and folder / "growth.csv", ("grows", *COLUMNS))
    if not options.no_growth:
        for quantity, cases in GROWTH.items():
            for case in cases:
                add_rows(growth, {"grows": quantity}, case, options)
    if folder and growth.rows:
        fits = exponents(growth.rows)
        write_csv(folder / "exponents.csv", fits, ("grows", "setting", "exponent"))
        plot(growth.rows, fits, folder / "growth.png")
    if folder:
        write_text(folder / "machine.json", json.dumps(machine, indent=2) + "\n")


class Rows:
    """The rows of a table, in a file if there is one to be."""

    def __init__(self, path: Path | None, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, columns
        self.rows: list[dict[str, Any]] = [
            {name: number(text) for name, text in row.items()}
            for row in (read_csv(path) if path else [])
        ]

    def has(self, row: dict[str, Any]) -> bool:
        """Whether there is a row with all of these values."""
        return any(row.items() <= other.items() for other in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Writes one more."""
        self.rows.append(row)
        self.write(row)

    def write(self, row: dict[str, Any]) -> None:
        """Writes all rows, and shows the one that is new."""
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if self.path:
            write_csv(self.path, self.rows, self.columns)


def number(text: str) -> float | str:
    """The number that a text is, if it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def add_rows(rows: Rows, marks: dict[str, Any], case: tuple, options: argparse.Namespace) -> None:
    """Measures the times that are missing of a case."""
    network, classes, batch, pixels, settings = case
    shared = {"network": network, "classes": classes, "batch": batch, "pixels": pixels}
    settings = [
        name
        for name in settings
        if (not options.setting or name in options.setting)
        and not rows.has({**marks, **shared, "setting": name})
    ]
    task = {**shared, "models": options.models, "patience": options.patience}
    if network == "efficientnet_lite0" and not model_path(task).exists():
        print(f"{network}: left out, there is no {model_path(task)}", flush=True)
        return
    if not settings:
        return
    times = child({**task, "settings": settings, "rounds": options.rounds})
    for setting, figures in times.items():
        rows.add({**marks, **shared, "setting": setting, **figures, "rounds": options.rounds})


def add_memory(rows: Rows, options: argparse.Namespace) -> None:
    """Measures the peak memory of every row that has none."""
    plain: dict[tuple, float] = {}
    for row in rows.rows:
        if row.get("memory_ratio", "") == "":
            case = {name: row[name] for name in ("network", "classes", "batch", "pixels")}
            task = {**case, "models": options.models}
            key = tuple(case.values())
            if key not in plain:
                plain[key] = child({**task, "memory": "plain"})
            own = child({**task, "memory": row["setting"]})
            row["memory_ratio"] = round(own / plain[key], 2)
            rows.write(row)


def child(task: dict[str, Any]) -> Any:
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{task} failed:\n{run.stderr[-3000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def model_path(task: dict[str, Any]) -> Path:
    return Path(task["models"]) / "imagenet_efficientnet_lite0.keras"


def classifier_of(task: dict[str, Any]) -> Any:
    import keras

    from keras_lodin import models

    keras.utils.set_random_seed(0)
    if task["network"] == "efficientnet_lite0":
        return keras.models.load_model(model_path(task))
    shape = (task["pixels"], task["pixels"], 3)
    return models.build(task["network"], task["classes"], shape)


def step_of(classifier: Any, task: dict[str, Any], setting: str) -> Any:
    """A compiled training step on one fixed batch, and the seconds that its trace took."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_lodin

    options = {"gq_weight": 0.0} if setting == "plain" else {"gq_weight": 0.1, **SETTINGS[setting]}
    model = keras_lodin.GQModel(classifier, **options)
    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    high = 255.0 if task["network"] == "efficientnet_lite0" else 1.0
    pixels = (task["batch"], task["pixels"], task["pixels"], 3)
    x = tf.constant(rng.uniform(0, high, pixels).astype("float32"))
    y = tf.constant(rng.integers(0, task["classes"], task["batch"]))
    # A free batch size, as `fit` has it.
    signature = [tf.TensorSpec((None, *pixels[1:])), tf.TensorSpec((None,), y.dtype)]
    step = tf.function(lambda x, y: model.train_step((x, y)), input_signature=signature)
    seconds = seconds_of(step.get_concrete_function)
    return (lambda: float(step(x, y)["loss"])), seconds


def step_times(task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Ratios of step times, in turn with the plain step."""
    classifier = classifier_of(task)
    plain, _ = step_of(classifier, task, "plain")
    plain(), plain()
    once = seconds_of(plain)
    found = {}
    for setting in task["settings"]:
        classes = task["classes"] if "exact" in setting and "pooled" not in setting else 10
        if once * classes * 1.5 > task["patience"]:
            continue
        step, trace_seconds = step_of(classifier, task, setting)
        # One period of `every`.
        steps = SETTINGS[setting].get("every", 1)
        timers = {
            name: lambda one=one, steps=steps: processor_seconds_of(
                lambda: [one() for _ in range(steps)]
            )
            for name, one in {"base": plain, "step": step}.items()
        }
        seconds = in_turns(timers, task["rounds"])
        ratio = spread(ratios(seconds["step"], seconds["base"]))
        found[setting] = {
            "time_ratio": ratio["median"],
            "least": ratio["least"],
            "most": ratio["most"],
            "plain_seconds": round(statistics.median(seconds["base"]) / steps, 4),
            "trace_seconds": round(trace_seconds, 1),
        }
    return found


def peak_memory(task: dict[str, Any]) -> float:
    """MB that a few steps need above what the process held before the first."""
    classifier = classifier_of(task)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step, _ = step_of(classifier, task, task["memory"])
    traced = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The trace is Python's memory and no tensor's.
    return max(after - max(before, traced), 1) / 1024


def exponents(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Growth of the ratio (classes) or of the step's seconds (batch, pixels), by least squares.

    The exponent p of `figure ~ quantity^p`.
    """
    import numpy as np

    fits = []
    for quantity, setting in dict.fromkeys((row["grows"], row["setting"]) for row in rows):
        chosen = [r for r in rows if r["grows"] == quantity and r["setting"] == setting]
        sizes = np.log([row[quantity] for row in chosen])
        figures = np.log([figure(row) for row in chosen])
        slope = float(np.polyfit(sizes, figures, 1)[0]) if len(chosen) > 1 else float("nan")
        fits.append({"grows": quantity, "setting": setting, "exponent": round(slope, 2)})
    return fits


def figure(row: dict[str, Any]) -> float:
    """What is fitted: the ratio against classes, the seconds of a step against batch and pixels."""
    if row["grows"] == "classes":
        return row["time_ratio"]
    return row["time_ratio"] * row["plain_seconds"]


def plot(rows: list[dict[str, Any]], fits: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from keras_lodin.utils.files import atomic_write

    known = {(fit["grows"], fit["setting"]): fit["exponent"] for fit in fits}
    quantities = list(dict.fromkeys(row["grows"] for row in rows))
    picture, axes = plt.subplots(1, len(quantities), figsize=(5 * len(quantities), 4))
    for axis, quantity in zip(axes, quantities, strict=True):
        chosen = [row for row in rows if row["grows"] == quantity]
        for setting in dict.fromkeys(row["setting"] for row in chosen):
            points = [(r[quantity], figure(r)) for r in chosen if r["setting"] == setting]
            label = f"{setting}: power {known[quantity, setting]}"
            axis.loglog(*zip(*points, strict=True), marker="o", label=label)
        axis.set_xlabel({"batch": "batch size", "pixels": "pixels a side"}.get(quantity, quantity))
        axis.set_ylabel("step / plain step" if quantity == "classes" else "seconds a step")
        axis.set_xticks(sorted({row[quantity] for row in chosen}))
        axis.get_xaxis().set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axis.minorticks_off()
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    picture.suptitle("Gradient Quotient: cost of a training step, ResNet-20")
    picture.tight_layout()
    with atomic_write(path) as temporary:
        picture.savefig(temporary, format="png", dpi=110)


def describe_machine(*packages: str) -> dict[str, Any]:
    """Processor, cores, memory, and the versions of Python and some packages."""
    from importlib.metadata import version

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def write_text(path: Path, text: str) -> None:
    from keras_lodin.utils.files import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    main()
