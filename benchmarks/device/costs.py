"""What steps and scores cost on a device: the rows, their order, and how each is made."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from epochs import ESTIMATORS, Scoring, Training

from device import runtime

PLAIN = "plain"


@dataclass(frozen=True)
class Sizes:
    """How large everything is: as on a GPU, or tiny.

    Args:
        networks: small first.
        classes: numbers of them.
        batch: of a step.
        images: to score.
        pixels: a side, of the steps.
        chunk: classes at once, of the exact estimator where there are more than ten.
        epoch_seconds: that a timed epoch should take.
    """

    networks: tuple[str, ...]
    classes: tuple[int, ...]
    batch: int
    images: int
    pixels: int
    chunk: int
    epoch_seconds: float


GPU = Sizes(("resnet20", "resnet18"), (10, 100, 1000), 128, 10_000, 32, 10, 0.4)
TINY = Sizes(("small_convnet",), (10, 20), 4, 64, 16, 10, 0.05)


@dataclass(frozen=True)
class Step:
    """One row: a training step of a network.

    Args:
        network: of `keras_lodin.models`.
        classes: how many.
        dtype: a dtype policy of Keras.
        estimator: of `ESTIMATORS`, or plain.
    """

    network: str
    classes: int
    dtype: str
    estimator: str

    @property
    def name(self) -> str:
        """What the row is called."""
        return f"{self.network}, {self.classes} classes, {self.dtype}, {self.estimator}"

    @property
    def plain(self) -> Step:
        """The row that it is compared with."""
        return Step(self.network, self.classes, self.dtype, PLAIN)

    @property
    def count(self) -> float:
        """Plain steps, by the cost model of docs/performance.md."""
        exact = self.classes if self.classes <= 10 else 4 * self.classes / 3
        return {PLAIN: 1.0, "projected": 2.0, "sampled": 4.0, "exact": exact}[self.estimator]


def steps(sizes: Sizes) -> list[Step]:
    """All rows in the order in which they run: what is cheap and what tells most first."""
    small, large = sizes.networks[0], sizes.networks[-1]
    few, many = sizes.classes[0], sizes.classes[-1]
    whole, half = "float32", "mixed_bfloat16"
    groups = [
        *((small, few, whole), (large, few, half), (small, many, whole), (large, few, whole)),
        *((large, many, half), (small, few, half)),
        *((n, c, d) for c in sizes.classes for n in sizes.networks for d in (whole, half)),
    ]
    rows = [
        Step(*group, estimator)
        for group in dict.fromkeys(groups)
        for estimator in (PLAIN, "sampled", "projected", "exact")
    ]
    return sorted(rows, key=lambda row: row.classes if row.count > 10 else 0)


def timed_step(step: Step, sizes: Sizes) -> dict[str, Any]:
    """Milliseconds of a step, the median of a few epochs, and what it took to compile."""
    settings = None if step.estimator == PLAIN else dict(ESTIMATORS[step.estimator])
    if step.estimator == "exact" and step.classes > 10:
        settings = {**settings, "chunk_size": sizes.chunk}
    before = runtime.peak_bytes()
    training = Training(step.network, step.classes, settings, sizes.batch, sizes.pixels, step.dtype)
    compiling = training.warm_up()
    first = training.step_seconds(2)
    count = int(min(50, max(2, sizes.epoch_seconds / first)))
    # A step that takes seconds varies less than the clock of a short one.
    seconds = [training.step_seconds(count) for _ in range(5)] if first < 1 else [first]
    median = statistics.median(seconds)
    return {
        "batch": sizes.batch,
        "milliseconds": round(1000 * median, 3),
        "least": round(1000 * min(seconds), 3),
        "most": round(1000 * max(seconds), 3),
        "images_per_second": round(sizes.batch / median, 1),
        "compile_seconds": round(compiling, 1),
        **({"chunk_size": settings["chunk_size"]} if settings and "chunk_size" in settings else {}),
        **_memory(before),
    }


def _memory(before: int | None) -> dict[str, Any]:
    peak = runtime.peak_bytes()
    if peak is None:
        return {}
    # Where the peak cannot be reset, a row that did not raise it needs at most as much.
    return {"peak_mib": round(peak / 2**20), "peak_is_its_own": before is None or peak > before}


def timed_scoring(network: str, sizes: Sizes) -> dict[str, Any]:
    """Images per second of a plain prediction, of ODIN, and of an evaluation."""
    scoring = Scoring(network, sizes.images, min(512, sizes.images))
    row: dict[str, Any] = {"images": sizes.images}
    for task, count in (("plain", 1), ("odin", 1), ("evaluate", 2)):
        first = scoring.seconds(task)
        seconds = statistics.median(scoring.seconds(task) for _ in range(3))
        row[f"{task}_images_per_second"] = round(count * sizes.images / seconds, 1)
        row[f"{task}_first_seconds"] = round(first, 2)
    row["odin_ratio"] = round(row["plain_images_per_second"] / row["odin_images_per_second"], 2)
    return {**row, **_memory(None)}
