"""The devices of JAX: one program runs on all of them, on batches that lie in parts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax
import keras

from keras_lodin.gradients.replicas import Replicas, refuse_strategy


@contextlib.contextmanager
def replicas_of(strategy: str | None) -> Iterator[Replicas]:
    """Within it a training may run on the devices of `keras.distribution`, if it was set.

    Raises:
        ValueError: for a strategy, of which JAX has none, or several processes.
    """
    refuse_strategy(
        strategy,
        "On jax, call `keras.distribution.set_distribution(keras.distribution.DataParallel())` in "
        "Python before you train.",
    )
    if jax.process_count() > 1:
        raise ValueError(
            "On jax a training runs on the devices of one process. "
            f"Received: {jax.process_count()} processes"
        )
    distribution = keras.distribution.distribution()
    if distribution is None:
        yield Replicas()
        return
    mesh = distribution.device_mesh
    yield Replicas(parts=mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)])
