"""Runs cells of the queue on the device, several side by side, within a budget of seconds."""

from __future__ import annotations

import platform
import queue
import threading
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from scale import data, scores, trainers, training
from scale.data import OOD, TEST, TRAIN
from scale.figures import figure_rows, kept
from scale.methods import Method
from scale.plan import OFF, Cell, Recipe
from scale.results import Results
from scale.trainers import Trainer
from scale.training import State

_SCORE_BATCH = 990  # divides the 29,700 test images
# What scoring a cell takes, until one has been scored.
_SCORING_SECONDS = 3.0


class Trained(NamedTuple):
    """A cell that has been trained, or what kept it from that.

    Attributes:
        cell: which.
        state: its weights; None if it was given up.
        curve: rows of the training curve.
        seconds: that its training took of the device, a share of those that it ran side by side
            with others.
        elapsed: seconds from its beginning to its end.
        error: what ended its thread.
    """

    cell: Cell
    state: State | None
    curve: list[dict[str, Any]]
    seconds: float
    elapsed: float
    error: BaseException | None = None


def run(
    packed: Path,
    output: Path,
    budget: float,
    cells: list[Cell],
    recipes: dict[str, Recipe],
    limit: int | None = None,
    side_by_side: int = 4,
    say: Callable[[str], None] = print,
) -> int:
    """Runs what is missing of some cells, in their order, as long as the budget allows.

    Args:
        packed: what `data.pack` wrote.
        output: folder of the results, which another call goes on with.
        budget: seconds, loading and compiling included. A cell that would not end within it is not
            begun, or is given up after its first epochs.
        cells: in the order of the run.
        recipes: of each network. Its first controls run before all else of it, and if they have
            less than its least accuracy in the mean it is left: its recipe is too short for its
            methods to be worth their time.
        limit: images of each set; None for all.
        side_by_side: trainings of a network at a time.
        say: is given a line for each cell.

    Returns:
        how many cells were finished.
    """
    began = time.perf_counter()
    deadline = began + budget
    results = Results(output)
    missing = [cell for cell in cells if cell not in results.done()]
    if not missing:
        say("nothing is missing")
        return 0

    def tell(line: str) -> None:
        say(f"{time.perf_counter() - began:.1f} s: {line}")

    trainers.prepare()
    sets = Sets.load(packed, limit)
    how = trainers.arithmetic()
    tell(f"data on {device_name()}")
    finished = 0
    for network, own in groupby(missing, key=lambda cell: cell.network):
        waiting, recipe = list(own), recipes[network]
        if time.perf_counter() >= deadline:
            break
        if _has_not_learned(results, network, recipe):
            tell(f"{network} is left: its controls must reach {recipe.least_accuracy}")
            continue
        kinds = list(dict.fromkeys(Method.of(cell.method).kind for cell in waiting))
        side = [
            Trainer(network, sets.images, sets.labels, recipe.batch, how)
            for _ in range(min(side_by_side, len(waiting)))
        ]
        for trainer in side:
            for kind in kinds:
                trainer.record(kind)
        tell(f"{network} is ready, {len(side)} side by side")
        clock = Clock(deadline)
        first = []
        if not _controls(results, network):
            first = [cell for cell in waiting if cell.method == OFF][: len(side)]
        finished += _run_part(Crew(side, first, recipe, clock), recipe, sets, results, tell)
        if _has_not_learned(results, network, recipe):
            tell(f"{network} is left: its controls must reach {recipe.least_accuracy}")
            continue
        others = [cell for cell in waiting if cell not in first]
        finished += _run_part(Crew(side, others, recipe, clock), recipe, sets, results, tell)
    return finished


class Clock:
    """What is left of a budget, and what cells of a network take of it.

    Args:
        deadline: by `time.perf_counter`.

    Attributes:
        elapsed: kind of method -> seconds that a cell took, or would have taken.
        scoring: seconds to be kept free for scoring a cell.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.elapsed: dict[str, float] = {}
        self.scoring = _SCORING_SECONDS


class Sets(NamedTuple):
    """Everything on the device.

    Attributes:
        images: of the training, `training.padded`.
        labels: theirs.
        tests: images of all test sets, one after the other.
        sizes: the test sets in their order, and how many images each has.
        truth: labels of the in-distribution test set.
    """

    images: Any
    labels: np.ndarray
    tests: Any
    sizes: dict[str, int]
    truth: np.ndarray

    @classmethod
    def load(cls, packed: Path, limit: int | None) -> Sets:
        """Decodes what `data.pack` wrote."""
        tests = data.load(packed, limit)
        images, labels = tests.pop(TRAIN)
        sizes = {name: len(found) for name, (found, _) in tests.items()}
        everything = np.concatenate([found for found, _ in tests.values()])
        images, everything = (
            torch.from_numpy(values).to(trainers.device())
            for values in (training.padded(images), everything)
        )
        return cls(images, labels, everything, sizes, tests[TEST][1])


class Crew:
    """Trainers that take cells from one list until it is empty or there is no time left.

    Args:
        side: the trainers.
        waiting: cells in their order.
        recipe: of all of them.
        clock: it is kept up to date.
    """

    def __init__(
        self, side: list[Trainer], waiting: list[Cell], recipe: Recipe, clock: Clock
    ) -> None:
        self._waiting, self._recipe, self.clock = list(waiting), recipe, clock
        self._is_left = False
        self._lock = threading.Lock()
        self._ended: queue.Queue[Trained | None] = queue.Queue()
        self._running = 0
        self._threads = [threading.Thread(target=self._work, args=(trainer,)) for trainer in side]

    def trained(self) -> Any:
        """Cells as they end; those that were given up among them.

        What ends a training with an error is raised when all others are in.
        """
        for thread in self._threads:
            thread.start()
        left, error = len(self._threads), None
        try:
            while left:
                found = self._ended.get()
                if found is None:
                    left -= 1
                elif found.error is not None:
                    error = error or found.error
                else:
                    yield found
            if error is not None:
                raise error
        finally:
            self.stop()
            # What a caller who leaves does not wait for ends after its epoch.
            self._is_left = True
            for thread in self._threads:
                thread.join()

    def stop(self) -> None:
        """No further cell is begun."""
        with self._lock:
            self._waiting.clear()

    def _last_moment(self) -> float:
        """When trainings must have ended, for there to be time to score them."""
        return self.clock.deadline - self.clock.scoring * (self._running + self._ended.qsize())

    def _take(self) -> Cell | None:
        with self._lock:
            for place, cell in enumerate(self._waiting):
                kind = Method.of(cell.method).kind
                needs = self.clock.elapsed.get(kind, 0.0) + self.clock.scoring
                if time.perf_counter() + needs < self._last_moment():
                    return self._waiting.pop(place)
        return None

    def _work(self, trainer: Trainer) -> None:
        while (cell := self._take()) is not None:
            with self._lock:
                self._running += 1
            try:
                found = self._train(trainer, cell)
            except BaseException as error:  # the caller's thread raises it
                found = Trained(cell, None, [], 0.0, 0.0, error)
                self.stop()
            with self._lock:
                self._running -= 1
                self.clock.elapsed[Method.of(cell.method).kind] = found.elapsed
            self._ended.put(found)
        self._ended.put(None)

    def _train(self, trainer: Trainer, cell: Cell) -> Trained:
        began = time.perf_counter()
        seconds, curve = 0.0, []
        method, recipe = Method.of(cell.method), self._recipe
        trainer.begin(trainer.initial_state(cell.seed))
        ready = before = time.perf_counter()
        for number in range(recipe.epochs):
            logs = trainer.train_epoch(method, cell.seed, number, recipe)
            curve.append(trainers.curve_row(number, logs))
            now = time.perf_counter()
            seconds += (now - before) / self._running
            before = now
            ends = ready + (now - ready) / (number + 1) * recipe.epochs
            if self._is_left or ends > self._last_moment():
                return Trained(cell, None, curve, seconds, ends - began)
        state = trainer.copied_state()
        now = time.perf_counter()
        seconds += (now - before) / self._running
        return Trained(cell, state, curve, seconds, now - began)


def _run_part(
    crew: Crew, recipe: Recipe, sets: Sets, results: Results, tell: Callable[[str], None]
) -> int:
    """Adds the cells of a crew to the results as they end, and says how many."""
    finished = 0
    for trained in crew.trained():
        cell = trained.cell
        if trained.state is None:
            tell(f"{cell}: given up, as it takes {trained.elapsed:.0f} s")
            continue
        before = time.perf_counter()
        rows, kept_scores = _scored(trained, recipe, sets)
        results.add(cell, rows, trained.curve, kept_scores)
        crew.clock.scoring = max(crew.clock.scoring, time.perf_counter() - before)
        finished += 1
        row = rows[-1]
        mean = np.mean([row[f"auroc:{name}"] for name in OOD])
        tell(f"{cell}: accuracy {row['id_accuracy']:.4f}, ODIN {mean:.4f}, {row['seconds']:.1f} s")
    return finished


def _controls(results: Results, network: str) -> list[float]:
    """ID accuracies of the controls of a network that have run."""
    rows = {
        row["seed"]: float(row["id_accuracy"])
        for row in results.figures
        if (row["network"], row["method"]) == (network, OFF)
    }
    return list(rows.values())


def _has_not_learned(results: Results, network: str, recipe: Recipe) -> bool:
    found = _controls(results, network)
    return bool(found) and float(np.mean(found)) < recipe.least_accuracy


def device_name() -> str:
    """As the tables say it."""
    return torch.cuda.get_device_name() if trainers.device() == "cuda" else "cpu"


def _scored(
    trained: Trained, recipe: Recipe, sets: Sets
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Rows of figures, and scores to keep."""
    assert trained.state is not None
    with trainers.before_others():
        classes, found = scores.scores_of(
            trained.cell.network, trained.state, sets.tests, _SCORE_BATCH
        )
    rows = figure_rows(
        *(recipe, trained.curve, classes, sets.truth, found, sets.sizes),
        {
            "images": len(sets.labels),
            "seconds": round(trained.seconds, 2),
            "device": device_name(),
            "dtype": str(trainers.arithmetic().dtype).removeprefix("torch."),
            "versions": f"torch {torch.__version__}, python {platform.python_version()}",
        },
    )
    return rows, kept(found)
