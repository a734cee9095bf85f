"""keras-lodin against PyTorch on the same weights, images and cores.

    python benchmarks/against_pytorch.py --python torch-env/bin/python --output FILE.csv

Three comparisons, in turn with each other, ours and theirs, in processes of their own: a training
step with the published (pooled) form of the Gradient Quotient, ODIN's images per second against
pytorch-ood's, and those of six detectors, which here share a pass. Steps are timed by the clock,
scoring by the processors' time, which other work on the machine changes less.
`tests/reference/README.md` says how to make the PyTorch environment.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import timing
from csv_rows import read_csv, write_csv

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import keras_lodin  # noqa: E402
from keras_lodin.data.passes import BatchFunction  # noqa: E402
from keras_lodin.detectors.registry import build_all  # noqa: E402
from keras_lodin.detectors.shared_passes import shared_passes  # noqa: E402
from tests.reference.weights import weight_arrays  # noqa: E402

# Images to score: a second or so of work for either side.
IMAGES = {"resnet20": 512, "resnet18": 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="Python of the reference environment")
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="pairs with this text; the file keeps others")
    options = parser.parse_args()
    rows: dict[tuple[str, str], dict] = {}
    if options.output and options.only:
        rows = {(row["network"], row["what"]): row for row in read_csv(options.output)}
    for network, classifier in (
        ("resnet20", keras_lodin.models.ResNet20()),
        ("resnet18", keras_lodin.models.ResNet18()),
    ):
        for row in compare(network, classifier, options.python, options.rounds, options.only):
            rows[network, row["what"]] = row
    if options.output:
        write_csv(options.output, rows.values())


def compare(
    network: str, classifier: keras.Model, python: str, rounds: int, only: str
) -> list[dict]:
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(IMAGES[network], 32, 32, 3)).astype("float32")
    labels = rng.integers(0, 10, len(images))
    arrays = {"images": images, "labels": labels, "scale": 1.0, "offset": 0.0}
    detector = keras_lodin.ODINDetector(classifier)
    together = scoring_together(classifier)
    ours: dict[str, Callable[[], object]] = {
        "pooled": training_step(classifier, images, labels, form="pooled", gq_weight=1e-6),
        "plain": training_step(classifier, images, labels, gq_weight=0.0),
        "odin": lambda: detector.predict(images, batch_size=128, verbose=0),
        "all": lambda: [one.outputs for one in together.over(images, "", 128, 0)],
        "logits": lambda: classifier.predict(images, batch_size=128, verbose=0),
    }
    pairs = {
        "pooled GQ step: keras-lodin / PyTorch": ("ours", "pooled", "theirs", "pooled"),
        "plain step: Keras / PyTorch": ("ours", "plain", "theirs", "plain"),
        "pooled GQ step / plain step: keras-lodin": ("ours", "pooled", "ours", "plain"),
        "pooled GQ step / plain step: PyTorch": ("theirs", "pooled", "theirs", "plain"),
        "ODIN images per second: keras-lodin / pytorch-ood": ("theirs", "odin", "ours", "odin"),
        "six detectors' images per second: keras-lodin / pytorch-ood": (
            *("theirs", "all"),
            *("ours", "all"),
        ),
        "plain images per second: Keras / PyTorch": ("theirs", "logits", "ours", "logits"),
        "ODIN / plain predict: keras-lodin": ("ours", "odin", "ours", "logits"),
        "ODIN / plain: pytorch-ood": ("theirs", "odin", "theirs", "logits"),
    }
    threads = str(os.cpu_count())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        np.savez(path, **arrays, **weight_arrays(classifier))
        worker = subprocess.Popen(
            [python, str(ROOT / "benchmarks" / "pytorch_worker.py"), network, str(path), threads],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Waiting threads that spin would slow the other side.
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        )
        try:
            rows = []
            for what, (side, task, other_side, other_task) in pairs.items():
                if only not in what:
                    continue
                by_clock = "step" in what
                timer = timing.seconds_of if by_clock else timing.processor_seconds_of
                sides: dict[str, Callable[[str], float]] = {
                    "ours": lambda task, timer=timer: timer(ours[task]),
                    "theirs": lambda task, place=not by_clock: asked(worker, task)[place],
                }
                found = timing.in_turns(
                    {
                        "one": partial(sides[side], task),
                        "other": partial(sides[other_side], other_task),
                    },
                    rounds,
                )
                row = {
                    "network": network,
                    "what": what,
                    **timing.spread(timing.ratios(found["one"], found["other"])),
                    "rounds": rounds,
                }
                print(", ".join(str(value) for value in row.values()), flush=True)
                rows.append(row)
        finally:
            worker.kill()
            worker.wait()
    return rows


def asked(worker: subprocess.Popen, task: str) -> list[float]:
    """The seconds that the PyTorch process took for a task: by the clock, and of the processors."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(task + "\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit(f"The PyTorch process ended at the task {task!r}; its error is above.")
    return [float(seconds) for seconds in answer.split()]


def scoring_together(classifier: keras.Model) -> BatchFunction:
    """The scores of six detectors, as `evaluate` computes them."""
    names = ["msp", "max_logit", "energy", "entropy", "gen", "odin"]
    detectors = list(build_all(names, classifier, (0, 1)).values())

    def scores(inputs: object) -> list:
        passes = shared_passes(detectors, inputs)
        return [one.score(own) for one, own in zip(detectors, passes, strict=True)]

    return BatchFunction(scores)


def training_step(
    classifier: keras.Model, images: np.ndarray, labels: np.ndarray, **settings: object
) -> Callable[[], object]:
    model = keras_lodin.GQModel(classifier, **settings)
    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    x, y = tf.constant(images[:32]), tf.constant(labels[:32])
    step = tf.function(lambda x, y: model.train_step((x, y)))
    return lambda: float(step(x, y)["loss"])


if __name__ == "__main__":
    main()
