"""What training and scoring take on the backend of Keras that runs, in whole epochs and passes.

An epoch of `fit` and a pass of `predict` end when the last number is there, so that nothing of a
device's queue is left out, and they are what a user waits for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import timing
from gq_cost import SETTINGS

import keras_lodin

# What every table of steps compares with a plain step.
ESTIMATORS = {
    "exact": SETTINGS["softmax, exact"],
    "sampled": SETTINGS["softmax, sampled, K=1"],
    "projected": SETTINGS["softmax, projected, K=1"],
}


class Training:
    """A network in training on random images of 32 by 32 pixels or as many as are asked for.

    Args:
        network: of `keras_lodin.models`.
        classes: how many.
        settings: those of `GQModel`; None for the plain step of the same model.
        batch: images a step.
        pixels: a side.
        dtype: a dtype policy of Keras.
    """

    def __init__(
        self,
        network: str,
        classes: int,
        settings: dict[str, Any] | None,
        batch: int,
        pixels: int = 32,
        dtype: str = "float32",
    ) -> None:
        keras.utils.set_random_seed(0)
        with dtype_policy(dtype):
            classifier = keras_lodin.models.build(network, classes, (pixels, pixels, 3))
        weight = 0.0 if settings is None else 0.1
        self.model = keras_lodin.GQModel(classifier, gq_weight=weight, seed=0, **(settings or {}))
        self.model.compile(
            keras.optimizers.SGD(1e-4, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        self.batch, self.classes, self.pixels = batch, classes, pixels

    def step_seconds(self, steps: int) -> float:
        """Of one step of an epoch of so many."""
        x, y = images(steps * self.batch, self.classes, self.pixels)
        clock = _Clock()
        self.model.fit(x, y, batch_size=self.batch, shuffle=False, verbose=0, callbacks=[clock])
        return clock.seconds / steps

    def warm_up(self) -> float:
        """Seconds of what happens once, by two epochs: the first compiles."""
        first = timing.seconds_of(lambda: self.step_seconds(2))
        return max(0.0, first - 2 * self.step_seconds(2))


class _Clock(keras.callbacks.Callback):
    """The seconds of an epoch, whose logs are numbers at its end."""

    seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        assert np.isfinite(list(logs.values())).all(), logs
        self.seconds = time.perf_counter() - self._began


class Scoring:
    """An untrained network of ten classes that scores random images.

    Args:
        network: of `keras_lodin.models`.
        count: images a pass.
        batch: images at once.
    """

    def __init__(self, network: str, count: int, batch: int) -> None:
        keras.utils.set_random_seed(0)
        self.classifier = keras_lodin.models.build(network, 10, (32, 32, 3))
        self.detector = keras_lodin.ODINDetector(self.classifier)
        self.x, _ = images(count, 10)
        self.batch = batch
        # Labels of which the classifier knows most: `evaluate` warns of those that are guessed.
        logits = self.classifier.predict(self.x, batch_size=batch, verbose=0)
        self.y = logits.argmax(-1).astype("int32")

    def seconds(self, task: str) -> float:
        """Of one pass: `plain`, `odin`, or `evaluate` with four detectors on two data sets."""
        return timing.seconds_of(lambda: self._run(task))

    def _run(self, task: str) -> None:
        if task == "evaluate":
            detectors = {
                "msp": keras_lodin.MSPDetector(self.classifier),
                "max_logit": keras_lodin.MaxLogitDetector(self.classifier),
                "energy": keras_lodin.EnergyDetector(self.classifier),
                "odin": self.detector,
            }
            keras_lodin.evaluate(detectors, (self.x, self.y), {"ood": self.x}, verbose=0)
        else:
            model = {"plain": self.classifier, "odin": self.detector}[task]
            model.predict(self.x, batch_size=self.batch, verbose=0)


def images(count: int, classes: int, pixels: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Random images from 0 to 1 and random labels, the same in every process."""
    rng = np.random.default_rng(0)
    x = rng.random((count, pixels, pixels, 3), dtype="float32")
    return x, rng.integers(0, classes, count).astype("int32")


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Within it, layers are made with a dtype policy of Keras."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
