"""Compiled programs, several made at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

from scale import networks, scores, training
from scale.methods import Method
from scale.plan import Recipe

SCORES = "scores"
_THREADS = 3


def device_dtype() -> Any:
    """Of the convolutions in training: bfloat16, or float32 on a CPU, which is faster there."""
    return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16


class Programs:
    """Programs by what they do, each compiled once.

    Args:
        images: `training.padded` training images on the device.
        labels: theirs.
        tests: uint8 test images on the device, a multiple of `score_batch` many.
        score_batch: images at a time when scoring.
    """

    def __init__(self, images: Any, labels: Any, tests: Any, score_batch: int) -> None:
        self.images, self.labels, self.tests = images, labels, tests
        self._score_batch = score_batch
        self._pool = ThreadPoolExecutor(_THREADS)
        # One at a time: tracing holds the interpreter, and side by side all of them end last.
        self._tracing = threading.Lock()
        self._made: dict[tuple[Any, ...], Future[Any]] = {}
        self.seconds: dict[tuple[Any, ...], float] = {}

    def prepare(self, keys: Iterable[tuple[Any, ...]]) -> None:
        """Starts to compile what is not there: `(network, kind, batch)` or `(network, SCORES)`."""
        for key in keys:
            if key not in self._made:
                self._made[key] = self._pool.submit(self._compiled, key)

    def wait(self) -> None:
        """Waits for all of them: what is tuned while the device trains is tuned badly."""
        for made in self._made.values():
            made.result()

    def get(self, key: tuple[Any, ...]) -> Callable[..., Any]:
        """A program; waits until it is compiled."""
        self.prepare([key])
        return self._made[key].result()

    def close(self) -> None:
        """Starts nothing more; what is being compiled is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compiled(self, key: tuple[Any, ...]) -> Any:
        began = time.perf_counter()
        if key[1] == SCORES:
            network = networks.build(key[0])
            program = jax.jit(scores.scores_of(network, self._score_batch))
            state = jax.eval_shape(lambda: training.start(network, 0))
            arguments = (state.parameters, state.statistics, self.tests)
        else:
            network = networks.build(key[0], dtype=device_dtype())
            program = jax.jit(training.epoch_of(network, *key[1:]), donate_argnums=0)
            state = jax.eval_shape(lambda: training.start(network, 0))
            arguments = (state, *epoch_arguments(Method.of("off"), self, 0, 0, Recipe(1)))
        with self._tracing:
            lowered = program.lower(*arguments)
        made = lowered.compile()
        self.seconds[key] = time.perf_counter() - began
        return made


def epoch_arguments(
    method: Method, programs: Programs, seed: int, number: int, recipe: Recipe
) -> tuple[Any, ...]:
    """What an epoch's program takes after the state."""
    steps = recipe.epochs * (len(programs.labels) // recipe.batch)
    return (
        training.Numbers.of(method),
        programs.images,
        programs.labels,
        jnp.int32(seed),
        jnp.int32(number),
        jnp.float32(recipe.learning_rate),
        jnp.float32(steps),
    )
