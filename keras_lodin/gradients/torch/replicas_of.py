"""PyTorch trains on one device here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from keras_lodin.gradients.replicas import Replicas, refuse_strategy


@contextlib.contextmanager
def replicas_of(strategy: str | None) -> Iterator[Replicas]:
    """Within it a training runs on one device.

    Raises:
        ValueError: for a strategy.
    """
    refuse_strategy(strategy, "On torch a training runs on one device.")
    yield Replicas()
