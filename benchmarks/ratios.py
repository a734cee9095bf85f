"""What things cost, as ratios within one run: absolute times say more about the machine.

    python benchmarks/ratios.py --output docs/results/ratios.csv

Each pair is measured in turn, A B A B ..., and the median of the pairwise ratios is printed with
the smallest and the largest. A ratio of forward-equivalents has a floor: a training step is three
(forward, backward to the inputs of each layer, backward to the weights).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from csv_rows import read_csv, write_csv
from timing import paired_ratios

import keras_lodin
from keras_lodin.detectors import DETECTORS, adapt_together
from keras_lodin.detectors.registry import build_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--only", nargs="+", choices=MEASURED, help="the file keeps the others")
    options = parser.parse_args()

    rows = {row["what"]: row for row in read_csv(options.output)} if options.output else {}
    for name in options.only or MEASURED:
        row = MEASURED[name](options.rounds, options.images)
        rows[row["what"]] = row
        print(
            f"{row['what']:<58} {row['ratio']:5.2f} x  ({row['least']:.2f} to {row['most']:.2f}; "
            f"{row['bound']})"
        )
    if options.output:
        write_csv(options.output, rows.values())


def compare(what: str, bound: str, rounds: int, ours: Callable, base: Callable) -> dict:
    """The pairwise ratios of two functions' times, after one warm-up of each."""
    found = paired_ratios(ours, base, rounds)
    return {
        "what": what,
        "ratio": found["median"],
        "least": found["least"],
        "most": found["most"],
        "rounds": rounds,
        "bound": bound,
    }


def batch(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(count, 32, 32, 3)).astype("float32")
    return images, rng.integers(0, 10, size=count)


def gq_step(rounds: int, _: int) -> dict:
    x, y = batch(32)
    models = []
    for weight in (0.1, 0.0):
        model = keras_lodin.GQModel(keras_lodin.models.ResNet20(), gq_weight=weight)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        models.append(model)
    x, y = keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)
    return compare(
        "GQ step (exact, 10 classes, ResNet-20) / plain step",
        "the 9 backward passes and their derivatives: about 10",
        rounds,
        lambda: models[0].train_on_batch(x, y),
        lambda: models[1].train_on_batch(x, y),
    )


def odin_scoring(rounds: int, images: int) -> dict:
    x, _ = batch(images)
    classifier = keras_lodin.models.ResNet20()
    detector = keras_lodin.ODINDetector(classifier)
    return compare(
        "ODIN predict / plain predict (ResNet-20)",
        "forward, backward to the input, forward: 3",
        rounds,
        lambda: detector.predict(x, batch_size=128, verbose=0),
        lambda: classifier.predict(x, batch_size=128, verbose=0),
    )


def evaluation(rounds: int, images: int) -> dict:
    x, y = batch(images)
    classifier = keras_lodin.models.ResNet20()
    detectors = {
        "msp": keras_lodin.MSPDetector(classifier),
        "max_logit": keras_lodin.MaxLogitDetector(classifier),
        "energy": keras_lodin.EnergyDetector(classifier),
        "odin": keras_lodin.ODINDetector(classifier),
    }
    # Enough images tracing the graph anew in each call weighs what it does in use.
    repeated, labels = np.concatenate([x] * 4), np.concatenate([y] * 4)
    return compare(
        "evaluate with four detectors / plain predict (ResNet-20)",
        "ODIN's 3, all others share its first pass",
        max(3, rounds // 2),
        lambda: keras_lodin.evaluate(detectors, (repeated, labels), {"ood": repeated}, verbose=0),
        lambda: classifier.predict(np.concatenate([repeated] * 2), batch_size=128, verbose=0),
    )


def evaluation_of_all(rounds: int, images: int) -> dict:
    """Every detector of one forward pass, and ODIN."""
    x, y = batch(images)
    classifier = keras_lodin.models.ResNet20()
    # Labels that the network agrees with but for some: what it takes to fit a temperature.
    known = classifier.predict(x, batch_size=128, verbose=0).argmax(axis=-1)
    known[::9] = y[::9]
    everyone = [name for name in DETECTORS if name not in ("mood", "adascale")]
    detectors = build_all(everyone, classifier, (0, 1))
    adapt_together([one for one in detectors.values() if not one.adapted], x, known, verbose=0)
    repeated, labels = np.concatenate([x] * 8), np.concatenate([y] * 8)
    return compare(
        "evaluate with all of one pass and ODIN / plain predict (ResNet-20)",
        f"ODIN's 3, {len(detectors) - 1} others share its first pass",
        max(3, rounds // 2),
        lambda: keras_lodin.evaluate(
            detectors, (repeated, labels), {"ood": repeated}, resamples=10, verbose=0
        ),
        lambda: classifier.predict(np.concatenate([repeated] * 2), batch_size=128, verbose=0),
    )


def import_time(rounds: int, _: int) -> dict:
    def importing(name: str) -> Callable:
        return lambda: subprocess.run(
            [sys.executable, "-c", f"import {name}"],
            check=True,
            capture_output=True,
            cwd=Path(__file__).parents[1],
        )

    return compare(
        "import keras_lodin / import keras",
        "1",
        max(3, rounds // 2),
        importing("keras_lodin"),
        importing("keras"),
    )


MEASURED = {
    one.__name__: one for one in (gq_step, odin_scoring, evaluation, evaluation_of_all, import_time)
}


if __name__ == "__main__":
    main()
