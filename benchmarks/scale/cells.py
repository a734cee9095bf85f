"""Runs cells of the queue one after the other, within a budget of seconds."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scale import networks, training
from scale.data import OOD, TEST, TRAIN, load
from scale.figures import figures, kept
from scale.methods import Method
from scale.plan import LEAST_ACCURACY, OFF, Cell, Recipe
from scale.programs import SCORES, Programs, device_dtype, epoch_arguments
from scale.results import Results

_SCORE_BATCH = 990  # divides the 29,700 test images
# Cells whose programs are compiled ahead of time.
_AHEAD = 12


class OverBudgetError(Exception):
    """A cell would end after the budget.

    Args:
        seconds: that it would take.
        left: that are left of the budget.
    """

    def __init__(self, seconds: float, left: float) -> None:
        super().__init__(f"given up, as it takes {seconds:.0f} s, and {left:.0f} are left")
        self.seconds = seconds


def run(
    data: Path,
    output: Path,
    budget: float,
    cells: list[Cell],
    recipes: dict[str, Recipe],
    limit: int | None = None,
    least_accuracy: float = LEAST_ACCURACY,
    say: Callable[[str], None] = print,
) -> int:
    """Runs what is missing of some cells, in their order, as long as the budget allows.

    Args:
        data: what `data.pack` wrote.
        output: folder of the results, which another call goes on with.
        budget: seconds, loading and compiling included. A cell that would not end within it is not
            begun, or is given up after its first epochs.
        cells: in the order of the run.
        recipes: of each network.
        limit: images of each set; None for all.
        least_accuracy: of a control. A network whose control has less is left at once: its recipe
            is too short for its methods to be worth their time.
        say: is given a line for each cell.

    Returns:
        how many cells were finished.
    """
    began = time.perf_counter()
    results = Results(output)
    missing = [cell for cell in cells if cell not in results.done()]
    if not missing:
        say("nothing is missing")
        return 0
    programs, sizes, truth = loaded(data, limit)
    say(f"{time.perf_counter() - began:.1f} s: data on {jax.devices()[0].device_kind}")
    # What a cell of a network and a kind of method took, or would have taken.
    seconds: dict[tuple[str, str], float] = {}
    finished = 0
    too_little: set[str] = set()
    for place, cell in enumerate(missing):
        if cell.network in too_little:
            continue
        kind = Method.of(cell.method).kind
        deadline = began + budget
        if time.perf_counter() + seconds.get((cell.network, kind), 0.0) > deadline:
            continue
        programs.prepare(
            key for later in missing[place : place + _AHEAD] for key in _programs_of(later, recipes)
        )
        programs.wait()
        started = time.perf_counter()
        try:
            result = _trained(cell, recipes[cell.network], programs, sizes, truth, deadline)
        except OverBudgetError as error:
            say(f"{time.perf_counter() - began:.1f} s: {cell}: {error}")
            seconds[cell.network, kind] = error.seconds
            continue
        seconds[cell.network, kind] = time.perf_counter() - started
        results.add(cell, *result)
        finished += 1
        row = result[0][-1]
        mean = np.mean([row[f"auroc:{name}"] for name in OOD])
        say(
            f"{time.perf_counter() - began:.1f} s: {cell}: accuracy {row['id_accuracy']:.4f}, "
            f"ODIN {mean:.4f}, {row['seconds']:.1f} s"
        )
        if cell.method == OFF and row["id_accuracy"] < least_accuracy:
            say(f"{cell.network} is left: its control must reach an accuracy of {least_accuracy}")
            too_little.add(cell.network)
    programs.close()
    return finished


def loaded(data: Path, limit: int | None) -> tuple[Programs, dict[str, int], np.ndarray]:
    """Everything on the device: programs, the sizes of the test sets in order, the test labels."""
    tests = load(data, limit)
    images, labels = tests.pop(TRAIN)
    sizes = {name: len(found) for name, (found, _) in tests.items()}
    everything = np.concatenate([found for found, _ in tests.values()])
    batch = min(_SCORE_BATCH, len(everything))
    filling = -len(everything) % batch
    everything = np.concatenate([everything, everything[:filling]])
    programs = Programs(
        jax.jit(training.padded)(images), jnp.asarray(labels), jnp.asarray(everything), batch
    )
    return programs, sizes, tests[TEST][1]


def _programs_of(cell: Cell, recipes: dict[str, Recipe]) -> list[tuple[Any, ...]]:
    kind = Method.of(cell.method).kind
    return [(cell.network, kind, recipes[cell.network].batch), (cell.network, SCORES)]


def _trained(
    cell: Cell,
    recipe: Recipe,
    programs: Programs,
    sizes: dict[str, int],
    truth: np.ndarray,
    deadline: float,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], np.ndarray]:
    """Rows of figures, rows of the training curve, and scores to keep."""
    epoch_key, scores_key = _programs_of(cell, {cell.network: recipe})
    epoch = programs.get(epoch_key)
    method = Method.of(cell.method)
    state = training.start(networks.build(cell.network), cell.seed)
    began = time.perf_counter()
    curve = []
    for number in range(recipe.epochs):
        arguments = epoch_arguments(method, programs, cell.seed, number, recipe)
        state, logs = epoch(state, *arguments)
        loss, accuracy, added = np.asarray(logs, "float64")
        curve.append(
            {
                "epoch": number + 1,
                "loss": f"{loss:.5f}",
                "accuracy": f"{accuracy:.5f}",
                "added": f"{added:.6g}",
            }
        )
        now = time.perf_counter()
        ends = now + (now - began) / (number + 1) * (recipe.epochs - number - 1)
        if ends > deadline:
            raise OverBudgetError(ends - began, deadline - began)
    trained = time.perf_counter() - began
    compiled = programs.get(scores_key)
    began = time.perf_counter()
    classes, found = compiled(state.parameters, state.statistics, programs.tests)
    count = sum(sizes.values())
    classes, found = np.asarray(classes)[: sizes[TEST]], np.asarray(found)[:, :count]
    scored = time.perf_counter() - began
    common = {
        "epochs": recipe.epochs,
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "images": len(programs.labels),
        "id_accuracy": float(np.mean(classes == truth)),
        "loss": curve[-1]["loss"],
        "added": curve[-1]["added"],
        "seconds": round(trained + scored, 2),
        "device": jax.devices()[0].device_kind,
        "dtype": jnp.dtype(device_dtype()).name,
        "versions": f"jax {jax.__version__}, python {platform.python_version()}",
    }
    rows = [
        {"detector": detector, **common, **{k: round(v, 6) for k, v in own.items()}}
        for detector, own in figures(found, sizes).items()
    ]
    return rows, curve, kept(found)
