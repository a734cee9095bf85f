"""How much fresh in-distribution data passes a threshold that was calibrated on n samples.

    python benchmarks/kept_promise.py --data ../shared/data

Splits 10,000 scores into n to calibrate on and the rest, 2,000 times for every n, and writes the
mean pass rate of the rest to docs/results/promise.csv: for the rule of `calibrate`, and for the
rule that sounds right, the threshold that lets 95 % of the n samples themselves pass. Scores: made
up, with and without ties, and those of three detectors around the trained ResNet-20 on CIFAR-10's
test images.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import keras
import numpy as np
from csv_rows import write_csv

import keras_lodin
from keras_lodin.evaluation.one_pass import evaluate
from keras_lodin.metrics.figures import lowest_kept, threshold_at_tpr

RESULTS = Path(__file__).parents[1] / "docs" / "results"
TPR = 0.95
COUNTS = (19, 20, 50, 200, 1000)
POOL = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--splits", type=int, default=2000)
    options = parser.parse_args()
    rows = [
        row
        for name, scores in {**made_up_scores(), **real_scores(options.data)}.items()
        for count in COUNTS
        for row in pass_rates(name, scores, count, options.splits)
    ]
    write_csv(RESULTS / "promise.csv", rows)


def made_up_scores() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    normal = random.normal(size=POOL).astype("float32")
    return {
        "normal": normal,
        "normal, rounded to 0.5": np.round(2.0 * normal) / np.float32(2.0),
        "three values": random.choice(np.float32([0, 1, 2]), size=POOL, p=[0.04, 0.06, 0.9]),
    }


def real_scores(folder: str) -> dict[str, np.ndarray]:
    classifier = keras.models.load_model(f"{folder}/models/cifar10_resnet20.keras")
    images = keras_lodin.data.load(
        f"tfds:cifar10_jpeg75:test[:{POOL}]",
        part="test",
        input_range=(0, 255),
        data_dir=f"{folder}/tfds",
    )
    detectors = {
        "MSP": keras_lodin.MSPDetector(classifier),
        "Energy": keras_lodin.EnergyDetector(classifier),
        "ODIN": keras_lodin.ODINDetector(classifier, input_range=(0, 255)),
    }
    black = np.zeros((1, 32, 32, 3), "float32")
    found = evaluate(detectors, images, {"black": black}, id_name="id", resamples=1).scores
    scores = {name: found[name]["id"] for name in detectors}
    return {**scores, "MSP, rounded to 0.01": np.round(scores["MSP"], 2)}


def pass_rates(name: str, scores: np.ndarray, count: int, splits: int) -> list[dict]:
    """Both rules over the same splits."""
    rules = {
        "calibrate": lambda some: threshold_at_tpr(some, TPR),
        "95 % of the samples": lambda some: np.nextafter(
            np.float32(lowest_kept(some, TPR)), np.float32(-np.inf)
        ),
    }
    ordered = np.sort(scores)
    random = np.random.default_rng(count)
    rates: dict[str, list[float]] = {rule: [] for rule in rules}
    for _ in range(splits):
        some = scores[random.choice(scores.size, count, replace=False, shuffle=False)]
        for rule, choose in rules.items():
            threshold = choose(some)
            passed = scores.size - np.searchsorted(ordered, threshold, side="right")
            fresh = passed - np.count_nonzero(some > threshold)
            rates[rule].append(fresh / (scores.size - count))
    return [
        {
            "scores": name,
            "distinct": np.unique(scores).size,
            "rule": rule,
            "samples": count,
            "splits": splits,
            "mean_pass_rate": f"{np.mean(values):.6f}",
            "standard_error": f"{np.std(values, ddof=1) / math.sqrt(splits):.6f}",
            "lowest_5_percent": f"{np.quantile(values, 0.05):.6f}",
        }
        for rule, values in rates.items()
    ]


if __name__ == "__main__":
    main()
