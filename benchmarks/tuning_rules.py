"""What ways of choosing ODIN's temperature and epsilon are worth on real OOD data.

    python benchmarks/tuning_rules.py --data ../shared/data

Chooses on CIFAR-10 training images with the trained ResNet-20, scores test images and four OOD
sets, and writes docs/results/tuning_rules.csv and docs/results/tuning_rules.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from csv_rows import write_csv

import keras_lodin
from keras_lodin import metrics
from keras_lodin.detectors import odin_tuning
from keras_lodin.utils.files import atomic_write

OOD = ("tiny_imagenet_jpeg75", "dtd10_jpeg75", "mnist_jpeg75", "fashion_mnist_jpeg75")
RESULTS = Path(__file__).parents[1] / "docs" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--images", type=int, default=1000, help="of each set")
    options = parser.parse_args()

    def images(name: str, split: str) -> np.ndarray:
        source = keras_lodin.data.load(
            f"tfds:{name}:{split}[:{options.images}]",
            part="test",
            input_range=(0, 255),
            data_dir=f"{options.data}/tfds",
        )
        return np.concatenate([batch[0].numpy() for batch in source.batches(250)])

    classifier = keras.models.load_model(f"{options.data}/models/cifar10_resnet20.keras")
    detector = keras_lodin.ODINDetector(classifier, input_range=(0, 255))
    tuning = detector.tune(images("cifar10_jpeg75", "train"))
    by_epsilon = [row for row in tuning.candidates if row["temperature"] == tuning.temperature]
    by_mean_score = max(by_epsilon, key=lambda row: row["mean_id_score"])
    settings = {
        "ODIN's defaults": (1000.0, 0.0014),
        "tune (three kinds of made-up data)": (tuning.temperature, tuning.epsilon),
        "largest mean ID score (Generalized ODIN)": (
            tuning.temperature,
            by_mean_score["epsilon"],
        ),
    }

    data = {"id": images("cifar10_jpeg75", "test")} | {name: images(name, "test") for name in OOD}

    def figures(temperature: float, epsilon: float) -> list[dict]:
        detector.temperature, detector.epsilon = temperature, epsilon
        scores = {
            name: detector.predict(values, batch_size=250, verbose=0)["score"]
            for name, values in data.items()
        }
        return [
            {
                "temperature": temperature,
                "epsilon": epsilon,
                "ood": name,
                "auroc": metrics.auroc(scores["id"], scores[name]),
                "fpr95": metrics.fpr_at_tpr(scores["id"], scores[name]),
            }
            for name in OOD
        ]

    grid = {
        (temperature, epsilon): figures(temperature, epsilon)
        for temperature in sorted({tuning.temperature, 1000.0})
        for epsilon in odin_tuning.EPSILONS
    }
    hindsight = max(grid, key=lambda key: np.mean([row["auroc"] for row in grid[key]]))
    settings["best in hindsight on these OOD sets"] = hindsight
    rows = [
        {"rule": rule, **row}
        for rule, chosen in settings.items()
        for row in (grid.get(chosen) or figures(*chosen))
    ]
    write_csv(RESULTS / "tuning_rules.csv", rows)
    with atomic_write(RESULTS / "tuning_rules.md") as temporary:
        temporary.write_text(report(rows, settings, options.images))
    print(report(rows, settings, options.images))


def report(rows: list[dict], settings: dict, images: int) -> str:
    """The figures as Markdown."""
    lines = [
        "# Choosing temperature and epsilon",
        "",
        f"ResNet-20 on CIFAR-10 (JPEG); chosen on {images:,} training images, measured on "
        f"{images:,} test images of each set; one trained network. AUROC / FPR95 (ID positive), "
        "per cent. Command: `python benchmarks/tuning_rules.py`.",
        "",
        f"| rule | T | epsilon | {' | '.join(OOD)} | mean |",
        f"|---|---|---|{'---|' * (len(OOD) + 1)}",
    ]
    for rule, (temperature, epsilon) in settings.items():
        own = [row for row in rows if row["rule"] == rule]
        pairs = [(row["auroc"], row["fpr95"]) for row in own]
        pairs.append(tuple(np.mean(pairs, axis=0)))
        cells = " | ".join(f"{100 * auroc:.1f} / {100 * fpr95:.1f}" for auroc, fpr95 in pairs)
        lines.append(f"| {rule} | {temperature:g} | {epsilon:g} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
