"""Cells of the queue where no GPU is at hand: trained by `keras_lodin.train`, on TensorFlow.

A run on two processors takes an hour and more, so nothing here waits for its end: `train` keeps
every epoch, and the next call goes on with the cell that the last one was in.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import platform
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scale import methods, product
from scale.data import SETS, TEST, TRAIN
from scale.figures import DETECTORS, figures, kept
from scale.methods import Method
from scale.plan import Cell, Recipe
from scale.results import Results

files = product.load("utils.files")

# What a cell has taken so far, in its folder.
_SECONDS = "processor_seconds.json"
_BATCH = 250


def run(
    tfds: Path,
    work: Path,
    output: Path,
    budget: float,
    cells: list[Cell],
    recipe: Recipe,
    say: Callable[[str], None] = print,
) -> int:
    """Goes on with what is missing of some cells until the budget ends, and says how many ended.

    Args:
        tfds: folder of TFDS, with the prepared data sets of `data.SETS`.
        work: folder of the runs that have begun.
        output: folder of the results.
        budget: seconds. What is being trained when they are over goes on with the next call.
        cells: in the order of the run.
        recipe: of all of them.
        say: is given a line for each cell.
    """
    ends = time.monotonic() + budget
    finished = 0
    for cell in cells:
        if cell in Results(output).done():
            continue
        folder = work / str(cell).replace(" / ", "_").replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        # A process of its own can be stopped at any moment, and gives all of its memory back.
        arguments = (cell, recipe, tfds, folder, output)
        process = multiprocessing.get_context("spawn").Process(target=_one_cell, args=arguments)
        before = _seconds_of_children()
        process.start()
        process.join(max(ends - time.monotonic(), 0.0))
        if process.is_alive():
            process.kill()
            process.join()
            spent = _seconds(folder) + _seconds_of_children() - before
            with files.atomic_write(folder / _SECONDS) as temporary:
                temporary.write_text(json.dumps(round(spent, 2)))
            say(f"{cell}: {spent:.0f} processor seconds so far")
            return finished
        if process.exitcode:
            raise SystemExit(f"{cell}: its process ended with code {process.exitcode}")
        finished += 1
        shutil.rmtree(folder)
        say(f"{cell}: finished")
    return finished


def settings_of(method: Method) -> dict[str, Any]:
    """What `keras_lodin.train` takes for a method."""
    found: dict[str, Any] = {}
    if method.smoothing:
        found["loss"] = f"label_smoothing:{method.smoothing}"
    if method.norm_temperature:
        found["loss"] = f"logit_norm:{method.norm_temperature}"
    if method.kind == methods.PENALTY:
        found["gradient_penalty"] = method.weight
    elif method.kind != methods.PLAIN:
        is_sampled = method.kind == methods.TWO and not method.pooled
        form = "pooled" if method.pooled else "softmax"
        found |= {
            "gq_weight": method.weight,
            "form": form if method.kind != methods.LOGITS and not is_sampled else "logits",
            "estimator": "sampled" if is_sampled else "exact",
        }
    return found


def _one_cell(cell: Cell, recipe: Recipe, tfds: Path, folder: Path, output: Path) -> None:
    import keras
    import tensorflow as tf

    from keras_lodin.workflows import train
    from keras_lodin.workflows.loading import load_detectors

    before = _seconds(folder)
    train(
        _specification(TRAIN),
        cell.network,
        str(folder / "run"),
        epochs=recipe.epochs,
        batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        augment="crop-flip",
        seed=cell.seed,
        data_dir=tfds,
        verbose=2,
        **settings_of(Method.of(cell.method)),
    )
    history = json.loads((folder / "run" / "run.json").read_text())["history"]
    detectors, inputs = load_detectors(folder / "run", list(DETECTORS), None, tfds)
    sources = {name: inputs.load(_specification(name), "test") for name in SETS if name != TRAIN}
    parts = {name: _scores(detectors, source) for name, source in sources.items()}
    classes, truth = parts[TEST][0], np.concatenate([y for _, y in sources[TEST].batches()])
    scores = np.concatenate([own for _, own in parts.values()], axis=1)
    added = history[-1].get("gq", history[-1].get("gradient_penalty"))
    common = {
        "epochs": recipe.epochs,
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "images": 50_000,
        "id_accuracy": float(np.mean(classes == truth)),
        "loss": f"{history[-1]['loss']:.5f}",
        "added": "nan" if added is None else f"{added:.6g}",
        "seconds": round(before + time.process_time(), 2),
        "device": "processor seconds of a CPU",
        "dtype": "float32",
        "versions": f"tensorflow {tf.__version__}, keras {keras.__version__}, "
        f"python {platform.python_version()}",
    }
    sizes = {name: own.shape[1] for name, (_, own) in parts.items()}
    rows = [
        {"detector": detector, **common, **{k: round(v, 6) for k, v in own.items()}}
        for detector, own in figures(scores, sizes).items()
    ]
    curve = [
        {
            "epoch": epoch["epoch"],
            "loss": f"{epoch['loss']:.5f}",
            "accuracy": f"{epoch['accuracy']:.5f}",
            "added": f"{epoch.get('gq', math.nan):.6g}",
        }
        for epoch in history
    ]
    Results(output).add(cell, rows, curve, kept(scores))


def _specification(name: str) -> str:
    dataset, split = SETS[name]
    return f"tfds:{dataset}:{split}"


def _scores(detectors: dict[str, Any], source: Any) -> tuple[np.ndarray, np.ndarray]:
    """Predicted classes, and a row of scores for each detector and one of the MSP's log-odds."""
    classes, found = [], []
    for x, _ in source.batches(_BATCH):
        logits = np.asarray(detectors["msp"].predict(x, verbose=0)["logits"])
        largest = logits.max(-1)
        others = np.where(logits == largest[:, None], -np.inf, logits)
        odds = -np.log(np.exp(others - largest[:, None]).sum(-1))
        rows = [detectors[name].predict(x, verbose=0)["score"] for name in DETECTORS]
        classes.append(logits.argmax(-1))
        found.append(np.stack([*rows, odds]))
    return np.concatenate(classes), np.concatenate(found, axis=1).astype("float32")


def _seconds(folder: Path) -> float:
    """Processor seconds that earlier calls spent on a cell."""
    path = folder / _SECONDS
    return json.loads(path.read_text()) if path.exists() else 0.0


def _seconds_of_children() -> float:
    """Processor seconds of all processes of this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
