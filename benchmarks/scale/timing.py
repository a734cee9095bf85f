"""Whether a device takes the steps that a processor takes, and how long it needs for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from scale import methods, networks, trainers, training
from scale.cells import Sets, device_name
from scale.layers import PLAIN, Arithmetic
from scale.methods import Method
from scale.plan import Recipe
from scale.settings import parsed
from scale.trainers import Trainer
from scale.training import Numbers, Program, State

_STEPS = 60
# The largest learning rate of an epoch, of which the first step takes a fortieth.
_RATE = 4.0
# Of each kind, one whose term counts.
_METHODS = {
    methods.PLAIN: "off",
    methods.TWO: "gq logits sampled 1",
    methods.LOGITS: "gq logits exact -0.1",
    methods.SOFTMAX: "gq softmax exact 0.5",
    methods.PENALTY: "gradient_penalty 0.1",
}


def time_programs(
    packed: Path, settings: list[str], limit: int | None, say: Callable[[str], None] = print
) -> None:
    """Says how far steps are from a processor's, and how long an epoch takes, one after the other.

    Args:
        packed: what `data.pack` wrote.
        settings: `NETWORK:KIND:BATCH`, with `:COUNT` for several trainings side by side.
        limit: images of each set; None for all.
        say: is given a line for each.
    """
    began = time.perf_counter()
    trainers.prepare()
    sets = Sets.load(packed, limit)
    how = trainers.arithmetic()
    say(f"{time.perf_counter() - began:.1f} s: data on {device_name()}")
    made: dict[tuple[str, int], list[Trainer]] = {}
    compared: set[tuple[str, str, int]] = set()
    for setting in settings:
        network, kind, batch, count = parsed(setting)
        before = time.perf_counter()
        side = made.setdefault((network, batch), [])
        while len(side) < count:
            side.append(Trainer(network, sets.images, sets.labels, batch, how))
        for trainer in side[:count]:
            trainer.record(kind)
        ready = time.perf_counter() - before
        if trainers.device() == "cuda" and (network, kind, batch) not in compared:
            compared.add((network, kind, batch))
            say(f"{network}:{kind}:{batch}: {agreement(side[0], kind, sets, batch, how)}")
        steps = len(sets.labels) // batch
        seconds = _timed(side[:count], kind, min(_STEPS, steps)) / count
        say(
            f"{setting}: {1e3 * seconds:.2f} ms a step of one, {seconds * steps:.2f} s an epoch, "
            f"{ready:.0f} s to get ready, peak so far {_peak():.1f} GiB"
        )


def agreement(trainer: Trainer, kind: str, sets: Sets, batch: int, how: Arithmetic) -> str:
    """How far a step on the device is from one on a processor, in float32, and as it is used.

    The distance is that of two updates over the length of the second. In bfloat16, where
    rounding may turn the sign of a small gradient, it says how alike compiled and plain kernels
    are, and both and float32; and the step as it was recorded, which is what trains, is compared
    with the same one that was not.

    Args:
        trainer: of the network; it has recorded the kind.
        kind: of the method.
        sets: the images.
        batch: images of the step.
        how: the arithmetic of the trainer.
    """
    network = trainer.network
    on_device = trainers.device()
    plain = Arithmetic(torch.float32, torch.float32, PLAIN)
    rounded = Arithmetic(how.dtype, how.product_dtype, PLAIN, how.channels)
    of_processor = _update(network, kind, sets, batch, plain, "cpu")
    of_device = _update(network, kind, sets, batch, plain, on_device)
    of_rounded = _update(network, kind, sets, batch, rounded, on_device)
    of_compiled = _update(network, kind, sets, batch, how, on_device)
    pairs = {
        "float32 to the processor": (of_device, of_processor),
        "plain kernels to float32": (of_rounded, of_processor),
        "compiled to plain": (of_compiled, of_rounded),
        "recorded to compiled": (recorded_update(trainer, kind, batch), of_compiled),
    }
    return ", ".join(
        f"{name} {_norm(one - other) / _norm(other):.1e}" for name, (one, other) in pairs.items()
    )


def recorded_update(trainer: Trainer, kind: str, batch: int) -> np.ndarray:
    """What the first step changes, as a trainer takes it."""
    before = trainer.initial_state(0)
    trainer.begin(before)
    trainer.prepare(Method.of(_METHODS[kind]), 0, 0, Recipe(1, batch, _RATE))
    trainer.steps(kind, 1)
    return _change(before, trainer.copied_state())


def _update(
    network: str, kind: str, sets: Sets, batch: int, how: Arithmetic, device: str
) -> np.ndarray:
    """What the first step changes."""
    state = training.start(networks.new_model(network, 0))
    state = State(
        *({name: v.to(device) for name, v in part.items()} for part in vars(state).values())
    )
    numbers = Numbers.of(Method.of(_METHODS[kind]))
    epoch = training.epoch_of(sets.labels, batch, 0, 0)
    rows, places, flips, draws = (torch.as_tensor(part[0]) for part in epoch)
    x = training.augmented(sets.images.cpu(), rows, places, flips)
    labels = torch.from_numpy(sets.labels[epoch.rows[0]].astype("int64"))
    before = training.start(networks.new_model(network, 0))
    rate = training.scheduled(_RATE, 0, len(epoch.rows))
    training.train_step(
        *(state, Program(network, kind, how), Numbers(*(n.to(device) for n in numbers))),
        *(x.to(device), labels.to(device), draws.to(device), torch.tensor(rate, device=device)),
    )
    return _change(before, state)


def _change(before: State, after: State) -> np.ndarray:
    """Of the weights, as one vector."""
    return np.concatenate(
        [
            (value.detach().cpu() - before.parameters[name]).numpy().ravel()
            for name, value in after.parameters.items()
        ]
    )


def _timed(side: list[Trainer], kind: str, count: int) -> float:
    """Seconds of a step of all of them."""

    def steps(trainer: Trainer) -> None:
        trainer.steps(kind, count)

    for _ in range(2):  # the first is a warm-up
        threads = [threading.Thread(target=steps, args=(trainer,)) for trainer in side]
        before = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - before
    return seconds / count


def _norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values.astype("float64")))


def _peak() -> float:
    if trainers.device() == "cpu":
        return 0.0
    return torch.cuda.max_memory_allocated() / 2**30
