"""Fine-tunes a trained CIFAR-10 network with and without GQ, the same budget and seeds.

    python benchmarks/fine_tuning.py --data ../shared/data --work runs/fine_tuning

Writes docs/results/fine_tuning.csv (every run) and docs/results/fine_tuning.md (paired
differences to the control with 95 % t-intervals over seeds). Runs that are complete are not
repeated: a killed benchmark is started again with the same command.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from scipy import stats

from keras_lodin.files import atomic_write
from keras_lodin.workflows import evaluate_models, train

WEIGHTS = (0.0, 0.1, -0.1)
OOD = ("tiny_imagenet_jpeg75", "dtd10_jpeg75", "mnist_jpeg75", "fashion_mnist_jpeg75")
RESULTS = Path(__file__).parents[1] / "docs" / "results"
FIGURES = ("auroc", "fpr95")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--work", default="runs/fine_tuning")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-images", type=int, default=4000)
    parser.add_argument("--test-images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()

    rows = []
    for seed in range(options.seeds):
        for weight in WEIGHTS:
            rows += one_run(options, seed, weight)
    with atomic_write(RESULTS / "fine_tuning.csv") as temporary, open(temporary, "w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with atomic_write(RESULTS / "fine_tuning.md") as temporary:
        temporary.write_text(report(rows, options))
    print(report(rows, options))


def one_run(options: argparse.Namespace, seed: int, weight: float) -> list[dict]:
    """Rows of one trained network: one per detector and OOD set."""
    folder = Path(options.work) / f"seed{seed}" / f"gq_weight={weight:g}"
    cached = folder / "rows.json"
    if cached.exists():
        return json.loads(cached.read_text())
    data_dir = f"{options.data}/tfds"
    train(
        f"tfds:cifar10_jpeg75:train[:{options.train_images}]",
        f"{options.data}/models/cifar10_resnet20.keras",
        folder,
        gq_weight=weight,
        epochs=options.epochs,
        learning_rate=0.01,
        augment="crop-flip",
        seed=seed,
        data_dir=data_dir,
        verbose=2,
    )
    cut = f"test[:{options.test_images}]"
    small = ("dtd10_jpeg75",)  # 1,200 images, all of which are used
    evaluation = evaluate_models(
        [folder],
        f"tfds:cifar10_jpeg75:{cut}",
        [f"tfds:{name}:{'test' if name in small else cut}" for name in OOD],
        data_dir=data_dir,
        resamples=100,
    )
    history = json.loads((folder / "run.json").read_text())["history"]
    rows = [
        {
            "seed": seed,
            "gq_weight": weight,
            "training_gq": history[-1].get("gq"),
            "id_accuracy": row["id_accuracy"],
            **{name: row[name] for name in ("detector", "ood", "count", *FIGURES)},
        }
        for row in evaluation.rows
    ]
    with atomic_write(cached) as temporary:
        temporary.write_text(json.dumps(rows))
    return rows


def report(rows: list[dict], options: argparse.Namespace) -> str:
    """The figures as Markdown: means over OOD sets, differences paired by seed."""

    def values(weight: float, detector: str, figure: str) -> np.ndarray:
        """One value a seed: the mean over OOD sets, per cent."""
        chosen = [r for r in rows if r["gq_weight"] == weight and r["detector"] == detector]
        seeds = sorted({r["seed"] for r in chosen})
        return np.array(
            [100 * np.mean([r[figure] for r in chosen if r["seed"] == seed]) for seed in seeds]
        )

    def mean_and_interval(sample: np.ndarray, sign: str = "") -> str:
        half = stats.t.ppf(0.975, len(sample) - 1) * stats.sem(sample)
        return f"{sample.mean():{sign}.2f} ± {half:.2f}"

    lines = [
        "# Fine-tuning with GQ: ResNet-20 on CIFAR-10 (JPEG), exact softmax form",
        "",
        f"{options.seeds} seeds, {options.epochs} epochs of {options.train_images:,} images, "
        "learning rate 0.01, crop and flip. Each figure is the mean over four OOD sets "
        f"({', '.join(OOD)}; at most {options.test_images:,} images each), per cent; ± is the "
        "half-width of a 95 % t-interval over seeds. FPR95: ID positive. Differences are paired "
        "by seed with the control, which had the same budget and no GQ.",
        "",
        "| GQ weight | quotient in training | ID accuracy | detector | AUROC | FPR95 "
        "| AUROC - control | FPR95 - control |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for weight in WEIGHTS:
        for detector in dict.fromkeys(row["detector"] for row in rows):
            own = [row for row in rows if row["gq_weight"] == weight]
            quotient = own[0]["training_gq"]
            figures = {f: values(weight, detector, f) for f in FIGURES}
            differences = {f: figures[f] - values(0.0, detector, f) for f in FIGURES}
            lines.append(
                f"| {weight:g} | "
                + ("-" if quotient is None else f"{np.mean([r['training_gq'] for r in own]):.3f}")
                + f" | {mean_and_interval(values(weight, detector, 'id_accuracy'))} | {detector} | "
                + " | ".join(mean_and_interval(figures[f]) for f in FIGURES)
                + " | "
                + " | ".join(
                    "-" if weight == 0 else mean_and_interval(differences[f], "+") for f in FIGURES
                )
                + " |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
