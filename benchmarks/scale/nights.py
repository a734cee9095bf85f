"""Cells of the queue where no GPU is at hand: trained by PyTorch, each on one processor.

A cell takes an hour and more, so nothing here waits for its end: every epoch leaves the state
after it, and the next call goes on from there. Several cells run side by side, as two processors
that share a step wait for each other.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import shutil
import time
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np

from scale import data, product
from scale.data import TEST, TRAIN
from scale.figures import figure_rows, kept
from scale.methods import Method
from scale.plan import Cell, Recipe
from scale.results import Results, merge

files = product.load("utils.files")

DTYPE = "bfloat16"
# In a cell's folder: the state after its last whole epoch, and results of a cell that has ended.
_STATE, _FINISHED = "state.pt", "finished"
_BATCH = 250


def run(
    packed: Path,
    work: Path,
    output: Path,
    budget: float,
    cells: list[Cell],
    recipe: Recipe,
    limit: int | None = None,
    processes: int | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Goes on with what is missing of some cells until the budget ends, and says how many ended.

    Args:
        packed: what `data.pack` wrote.
        work: folder of the cells that have begun.
        output: folder of the results.
        budget: seconds. What is being trained when they are over goes on with the next call, from
            its last whole epoch.
        cells: in the order of the run.
        recipe: of all of them.
        limit: images of each set; None for all.
        processes: cells at a time; None for as many as there are processors.
        say: is given a line for each cell.
    """
    ends = time.monotonic() + budget
    done = Results(output).done()
    waiting = [cell for cell in cells if cell not in done]
    running: dict[Any, tuple[Cell, Any]] = {}
    finished = 0
    _keep_memory()
    try:
        while waiting or running:
            while waiting and len(running) < (processes or os.cpu_count() or 1):
                cell = waiting.pop(0)
                # A process of its own can be stopped at any moment.
                arguments = (cell, recipe, packed, _folder(work, cell), limit)
                process = multiprocessing.get_context("spawn").Process(
                    target=_one_cell, args=arguments
                )
                process.start()
                running[process.sentinel] = cell, process
            ended = connection.wait(list(running), max(ends - time.monotonic(), 0.0))
            if not ended:
                break
            for sentinel in ended:
                cell, process = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{cell}: its process ended with code {process.exitcode}")
                merge(Results(_folder(work, cell) / _FINISHED), Results(output))
                shutil.rmtree(_folder(work, cell))
                finished += 1
                say(f"{cell}: finished")
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
    for cell, _ in running.values():
        say(f"{cell}: goes on with the next call")
    return finished


def train(
    cell: Cell, recipe: Recipe, images: np.ndarray, labels: np.ndarray, folder: Path
) -> tuple[Any, list[dict[str, Any]], float]:
    """Trains a cell, from the last whole epoch that its folder holds.

    Args:
        cell: which.
        recipe: how it is trained.
        images: uint8 of shape `(count, height, width, 3)`.
        labels: integers of shape `(count,)`.
        folder: of the cell; it need not exist.

    Returns:
        the state after the last epoch, rows of the training curve, and the processor
        seconds that all of its epochs took.

    Raises:
        SystemExit: if the folder holds a cell that was trained by another recipe.
    """
    import torch

    from scale import layers, trainers, training

    dtype = getattr(torch, DTYPE)
    kernels = layers.compiled_kernels("cpu") or layers.PLAIN
    how = layers.Arithmetic(dtype, layers.quickest_product_dtype(dtype), kernels)
    padded = torch.from_numpy(training.padded(images))
    trainer = trainers.Trainer(cell.network, padded, labels, recipe.batch, how)
    method = Method.of(cell.method)
    trainer.record(method.kind)
    state, curve, seconds = trainer.initial_state(cell.seed), [], 0.0
    trained_by = [recipe.epochs, recipe.batch, recipe.learning_rate, len(labels), DTYPE]
    path = folder / _STATE
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["trained_by"] != trained_by:
            raise SystemExit(
                f"{folder} holds a cell that was begun otherwise: remove it, or give another folder"
            )
        state = training.State(*(saved["state"][part] for part in vars(state)))
        curve, seconds = saved["curve"], saved["seconds"]
    trainer.begin(state)
    for number in range(len(curve), recipe.epochs):
        before = time.process_time()
        logs = trainer.train_epoch(method, cell.seed, number, recipe)
        seconds += time.process_time() - before
        curve.append(trainers.curve_row(number, logs))
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise SystemExit(f"{cell}: who started this process is gone, and may be back")
        folder.mkdir(parents=True, exist_ok=True)
        with files.atomic_write(path) as temporary:
            torch.save(
                {
                    "trained_by": trained_by,
                    "state": vars(trainer.copied_state()),
                    "curve": curve,
                    "seconds": seconds,
                },
                temporary,
            )
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        print(
            f"{now} {cell}: epoch {number + 1} of {recipe.epochs}: "
            + ", ".join(f"{key} {value}" for key, value in list(curve[-1].items())[1:])
            + f"; {seconds:.0f} processor seconds",
            flush=True,
        )
    return trainer.copied_state(), curve, seconds


def _one_cell(cell: Cell, recipe: Recipe, packed: Path, folder: Path, limit: int | None) -> None:
    """Leaves a finished cell in its folder: the output has one writer, who adds it."""
    if cell in Results(folder / _FINISHED).done():
        return
    import keras
    import torch

    from scale import scores

    torch.set_num_threads(1)
    tests = data.load(packed, limit)
    images, labels = tests.pop(TRAIN)
    state, curve, trained = train(cell, recipe, images, labels, folder)
    began = time.process_time()
    everything = torch.from_numpy(np.concatenate([images for images, _ in tests.values()]))
    classes, found = scores.scores_of(cell.network, state, everything, _BATCH)
    seconds = trained + time.process_time() - began
    sizes = {name: len(labels) for name, (_, labels) in tests.items()}
    rows = figure_rows(
        *(recipe, curve, classes, tests[TEST][1], found, sizes),
        {
            "images": len(labels),
            "seconds": round(seconds, 2),
            "device": "processor seconds of a CPU",
            "dtype": DTYPE,
            "versions": f"torch {torch.__version__}, keras {keras.__version__}, "
            f"python {platform.python_version()}",
        },
    )
    Results(folder / _FINISHED).add(cell, rows, curve, kept(found))


def _keep_memory() -> None:
    """Lets glibc keep freed memory in the processes to come, which inherit the environment.

    It gives large tensors back at once by default, and the system clears each page of the next one.
    """
    for name, value in (
        ("MALLOC_MMAP_THRESHOLD_", 2**25),
        ("MALLOC_TRIM_THRESHOLD_", 2**32),
        ("MALLOC_TOP_PAD_", 2**28),
    ):
        os.environ.setdefault(name, str(value))


def _folder(work: Path, cell: Cell) -> Path:
    # A name that every system takes, as states are committed.
    return work / re.sub(r"[^\w.-]+", "_", str(cell))
