"""The devices and hosts that a training runs on, as the training needs to know them."""

from __future__ import annotations

import contextlib
from typing import Any

# A `Dataset` of a reader, or what Keras's `fit` takes in its place.
Batches = Any

STRATEGIES = ("mirrored", "multi-worker")


class Replicas:
    """One replica of a network, in one process: on one device, or in one program on several.

    Attributes:
        count: how many replicas are trained in step, each on its part of a batch.
        parts: into how many parts of one size a batch is cut, one for each device.
        is_chief: whether this process writes the files.
    """

    count = 1
    is_chief = True

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Within it models are made and loaded."""
        return contextlib.nullcontext()

    def shared_out(self, batches: Batches) -> Batches:
        """Batches for `fit`, of each of which every replica gets its part."""
        return batches

    def check_alike(self, **facts: object) -> None:
        """Raises ValueError unless these facts, which JSON can hold, are the same on every host.

        Returns when all hosts have come to it.
        """


def check_strategy(strategy: str | None) -> None:
    """Raises ValueError for a strategy that there is on no backend."""
    if strategy not in (None, *STRATEGIES):
        raise ValueError(
            f"`strategy` (--strategy) must be None or {' or '.join(map(repr, STRATEGIES))}. "
            f"Received: strategy={strategy!r}"
        )


def refuse_strategy(strategy: str | None, instead: str) -> None:
    """Raises ValueError for any strategy, on a backend that has none.

    Args:
        strategy: what was asked for.
        instead: what this backend has, a sentence.
    """
    check_strategy(strategy)
    if strategy is not None:
        raise ValueError(
            f"`strategy` (--strategy) is for Keras's backend tensorflow. {instead} "
            f"Received: strategy={strategy!r}"
        )
