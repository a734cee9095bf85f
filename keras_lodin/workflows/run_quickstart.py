"""The whole story in two minutes, offline: train, tune, evaluate, export, score."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_lodin import data
from keras_lodin.evaluation.one_pass import evaluate
from keras_lodin.evaluation.results import Evaluation
from keras_lodin.utils.files import atomic_write
from keras_lodin.utils.needed_packages import has_tensorflow
from keras_lodin.utils.numbers import check_seed
from keras_lodin.workflows.loading import adapted, load_detectors
from keras_lodin.workflows.run_folder import results_folder
from keras_lodin.workflows.train_network import train
from keras_lodin.workflows.tune import tune_model

ID = "digits:0-6"
# Digits of other classes are the hard case, patches of photographs and noise the easy ones. None
# is used to choose anything, so all of each is test data.
OOD = ("digits:7-9", "photos", "noise:uniform")
GQ_WEIGHT = 0.1
EPOCHS = 15


def quickstart(
    output: str | os.PathLike[str], *, seed: int = 0, report: Callable[[str], None] = print
) -> Evaluation:
    """Trains a small network twice on real digits, with cross-entropy and with GQ, and compares.

    Digits 0 to 6 are in-distribution. The folder then holds both runs, `results/` with tables and
    plots, the detector as `detector.keras` and, where TensorFlow is installed, as a SavedModel, a
    few images, and their scores, which another process computed from the exported file.

    Args:
        output: the folder. Finished training runs in it are not trained again.
        seed: of the training runs.
        report: is given a line of text before each part of the work.

    Returns:
        the `Evaluation` of both networks.
    """
    check_seed(seed)
    with results_folder(output):
        return _quickstart(Path(output), seed, report)


def _quickstart(output: Path, seed: int, report: Callable[[str], None]) -> Evaluation:
    evaluations = []
    for name, gq_weight in (("cross-entropy", 0.0), ("gq", GQ_WEIGHT)):
        report(f"Training with {name}" + (f" (weight {gq_weight:g})" if gq_weight else ""))
        run = train(
            ID,
            "small_convnet",
            output / name,
            gq_weight=gq_weight,
            epochs=EPOCHS,
            seed=seed,
            verbose=0,
        )
        detectors, inputs = load_detectors(run, None, None)
        adapted(detectors, inputs, ID, None, named=False, batch_size=128, verbose=0)
        report(f"Evaluating {', '.join(detectors)} on {', '.join(OOD)}")
        evaluations.append(
            evaluate(
                detectors,
                inputs.load(ID, "test"),
                {ood: inputs.load(ood, "all") for ood in OOD},
                model=name,
                id_name=ID,
                command="keras-lodin quickstart",
            )
        )
    evaluation = Evaluation.merge(evaluations)
    evaluation.save(output / "results")

    report("Choosing temperature, epsilon and threshold from in-distribution data, and exporting")
    detector, _ = tune_model(output / "gq", ID, output / "detector.keras")
    report(f"  {detector.promise()}")
    artifact = output / ("saved_model" if has_tensorflow() else "detector.keras")
    if has_tensorflow():
        detector.export(artifact, verbose=False)
    else:
        report("  no export: it takes TensorFlow, which is not installed here")

    report("Scoring a few images from the exported file, in a fresh process")
    images = _write_images(output / "images")
    scores = output / "scores.csv"
    command = [sys.executable, "-m", "keras_lodin", "score", str(artifact)]
    done = subprocess.run(
        [*command, str(images), "--output", str(scores)], capture_output=True, text=True
    )
    if done.returncode:
        raise OSError(
            f"The process that scores failed: {done.stderr.strip()} Received: {' '.join(command)}"
        )
    for row in csv.DictReader(scores.read_text(encoding="utf-8").splitlines()):
        verdict = "out of distribution" if row["is_ood"] == "True" else f"a {row['class_name']}"
        report(f"  {Path(row['path']).name:<16} score {float(row['score']):.4f}: {verdict}")
    return evaluation


def _write_images(folder: Path) -> Path:
    """The first test images of every source, as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ID, *OOD):
        source = data.load(name, part="test", image_shape=(8, 8, 1), input_range=(0, 255))
        batch = np.asarray(next(iter(source.batches(2)))[0])
        for number, image in enumerate(batch):
            stem = name.replace(":", "_")
            with atomic_write(folder / f"{stem}_{number}.png") as temporary:
                keras.utils.save_img(temporary, image, scale=False)
    return folder
