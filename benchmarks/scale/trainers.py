"""A training on the device: a step is recorded once and then only started, data included.

A step of a small network is hundreds of short programs, and a GPU that is told of each of them
waits for the next most of the time. So a step is a CUDA graph, and several trainings run side by
side, each on a stream of its own. On a processor a step is what it always is.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scale import layers, networks, training
from scale.layers import Arithmetic
from scale.methods import Method
from scale.plan import Recipe
from scale.training import Numbers, Program, State

# Before a step is recorded its programs must have been made and chosen.
_WARM_UPS = 3
# Steps that are started before they are waited for. Where too many wait for the device, starting
# one more waits too, and so does whoever else would start something: of eighteen trainings none was
# scored before the last had ended.
_AHEAD = 16
# Keras draws from generators that all threads share.
_drawing = threading.Lock()


def device() -> str:
    """Where trainings run."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def arithmetic() -> Arithmetic:
    """Of trainings on the device: convolutions in bfloat16, or in float32 on a processor."""
    if device() == "cpu":
        # A compiler must not be asked by several threads at a time.
        return Arithmetic(torch.float32, torch.float32, layers.PLAIN)
    kernels = layers.compiled_kernels("cuda") or layers.PLAIN
    return Arithmetic(torch.bfloat16, torch.bfloat16, kernels, channels=8)


def before_others() -> Any:
    """Where what is short, and waited for, goes before the trainings on the device."""
    return contextlib.nullcontext() if device() == "cpu" else torch.cuda.stream(_first_stream())


def prepare() -> None:
    """Asks for the fastest programs of convolutions, and float32 where float32 is meant."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@functools.cache
def _first_stream() -> Any:
    # One, as PyTorch keeps memory for each apart.
    return torch.cuda.Stream(priority=-1)


class Trainer:
    """Trains one cell at a time; several of them may do so at once, in threads.

    Args:
        network: its name.
        images: uint8 of shape `(count, height, width, 3)`, `training.padded`, on the device.
        labels: integers of shape `(count,)`.
        batch: images of a step.
        how: the arithmetic.
    """

    def __init__(
        self, network: str, images: Any, labels: np.ndarray, batch: int, how: Arithmetic
    ) -> None:
        self.network, self._images, self._batch, self._how = network, images, batch, how
        self._all_labels = labels
        self._labels = self._new(labels.astype("int64"))
        self._stream = torch.cuda.Stream() if images.device.type == "cuda" else None
        parts = vars(self.initial_state(0)).values()
        self.state = State(*({name: self._new(v) for name, v in part.items()} for part in parts))
        self._numbers = Numbers(*(self._new(np.float32(0.0)) for _ in Numbers._fields))
        epoch = training.epoch_of(labels, batch, 0, 0)
        self._epoch = [self._new(part) for part in epoch]
        self._steps = len(epoch.rows)
        self._rates = self._new(np.zeros(self._steps, "float32"))
        self._logs = self._new(np.zeros((self._steps, 3), "float32"))
        # Of the step, in the epoch: what is recorded reads it and moves it on.
        self._place = self._new(np.zeros(1, "int64"))
        self._recorded: dict[str, Callable[[], Any]] = {}

    def record(self, kind: str) -> None:
        """Gets ready for a kind of method; not while anything else runs on the device."""
        if kind in self._recorded:
            return
        step = functools.partial(self._step, kind)
        if self._stream is None:
            self._recorded[kind] = step
            return
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                self._place.zero_()
                step()
            self._place.zero_()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            step()
        self._recorded[kind] = graph.replay

    def begin(self, state: State) -> None:
        """Goes on from a copy of a state, in the order of names that `initial_state` has."""
        with self._on_stream(), torch.no_grad():
            for old, new in zip(_tensors(self.state), _tensors(state), strict=True):
                old.copy_(new)

    def initial_state(self, seed: int) -> State:
        """The state before the first step: the same for every method."""
        size = self._images.shape[1] - 2 * training.PADDING
        with _drawing:
            return training.start(networks.new_model(self.network, seed, (size, size, 3)))

    def train_epoch(self, method: Method, seed: int, number: int, recipe: Recipe) -> np.ndarray:
        """One pass over the data, and the means of what `training.train_step` returns."""
        self.prepare(method, seed, number, recipe)
        return self.steps(method.kind, self._steps)

    def prepare(self, method: Method, seed: int, number: int, recipe: Recipe) -> None:
        """Lays ready what the steps of an epoch see."""
        steps = recipe.epochs * self._steps
        rates = [
            training.scheduled(recipe.learning_rate, number * self._steps + step, steps)
            for step in range(self._steps)
        ]
        epoch = training.epoch_of(self._all_labels, self._batch, seed, number)
        with self._on_stream():
            for own, new in zip(self._epoch, epoch, strict=True):
                own.copy_(torch.as_tensor(new))
            for own, number_of in zip(self._numbers, Numbers.of(method), strict=True):
                own.copy_(number_of)
            self._rates.copy_(torch.tensor(rates))

    def steps(self, kind: str, count: int) -> np.ndarray:
        """The first steps of an epoch, and the means of what they log."""
        with self._on_stream():
            self._place.zero_()
            for step in range(count):
                self._recorded[kind]()
                if self._stream is not None and step % _AHEAD == _AHEAD - 1:
                    self._stream.synchronize()
            return self._logs[:count].cpu().numpy().astype("float64").mean(0)

    def copied_state(self) -> State:
        """The state as it is now, which goes on to be what it is."""
        with self._on_stream():
            parts = [
                {name: value.detach().clone() for name, value in part.items()}
                for part in vars(self.state).values()
            ]
        if self._stream is not None:
            self._stream.synchronize()
        return State(*parts)

    def _step(self, kind: str) -> None:
        rows, places, flips, draws = (part.index_select(0, self._place)[0] for part in self._epoch)
        logs = training.train_step(
            *(self.state, Program(self.network, kind, self._how), self._numbers),
            *(training.augmented(self._images, rows, places, flips), self._labels[rows], draws),
            self._rates.index_select(0, self._place)[0],
        )
        self._logs.index_copy_(0, self._place, logs[None])
        self._place += 1

    def _new(self, values: Any) -> Any:
        return torch.as_tensor(values).to(self._images.device)

    def _on_stream(self) -> Any:
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


def curve_row(number: int, logs: np.ndarray) -> dict[str, Any]:
    """A row of the training curve."""
    loss, accuracy, added = map(float, logs)
    return {
        "epoch": number + 1,
        "loss": f"{loss:.5f}",
        "accuracy": f"{accuracy:.5f}",
        "added": f"{added:.6g}",
    }


def _tensors(state: State) -> list[Any]:
    return [value for part in vars(state).values() for value in part.values()]
