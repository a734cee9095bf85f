"""Random seeds that follow from a step."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_lodin.utils.tensor import Tensor

# More than a step takes, so that no draw of a replica repeats one of the next.
_DRAWS_A_STEP = 2**16


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
        """The seed of the step's next draw: two uint32."""
        # A large prime apart, so that no draw of a step repeats one of a step nearby.
        first = tf.cast(self._step, tf.int64) + self._seed * 1_000_003
        self._draws += 1
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        second = tf.cast(replica, tf.int64) * _DRAWS_A_STEP + self._draws
        return tf.cast(tf.stack([first % 2**32, second]), tf.uint32)
