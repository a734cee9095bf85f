"""Random seeds that follow from a step."""

from __future__ import annotations

import keras

from keras_lodin.gradients import backend
from keras_lodin.utils.tensor import Tensor


class StepSeeds(keras.random.SeedGenerator):
    """The seeds of one training step, a function of a first seed and the step's number.

    Keras does not save the state of its seed generators, so that a training that is resumed would
    draw other numbers than one that was not interrupted. This one has no state.

    The replicas of a `tf.distribute` strategy draw different numbers, the first of them what a
    single device draws.

    Args:
        seed: an integer.
        step: number of the step, a tensor.
    """

    def __init__(self, seed: int, step: Tensor) -> None:
        # Not the base class's: it makes a variable.
        self._seed = seed
        self._step = step
        self._draws = 0

    def next(self, ordered: bool = True) -> Tensor:
        """The seed of the step's next draw: two numbers."""
        self._draws += 1
        return backend.draw_seed(self._seed, self._step, self._draws)
