"""Networks with several exits: one exit as a classifier, and the work between two exits.

A network with early exits returns the logits of each. Where an easy image leaves at an early exit,
what only later exits need must not be computed; so the network is cut into stages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from keras_lodin.models.head import find_exits
from keras_lodin.models.layer_graph import GraphPart, sources
from keras_lodin.utils.keras_internals import call_of


def at_exit(model: keras.Model, exit: int = -1) -> keras.Model:
    """One exit of a network with several, as a classifier of its own.

    Args:
        model: a functional `keras.Model` whose outputs are the logits of its exits.
        exit: number of the exit, 0 for the earliest; negative numbers count from the last.

    Returns:
        a `keras.Model` with one output, sharing the weights. It holds only what that exit needs.

    Raises:
        ValueError: if the model has no such exit.

    Example:
    ```python
    last = keras_lodin.models.at_exit(keras_lodin.models.MSDNet(), -1)
    detector = keras_lodin.ODINDetector(last)
    ```
    """
    head = find_exits(model)
    model, count = head.classifier, head.exits
    if not -count <= exit < count:
        raise ValueError(f"The model has {count} exits, 0 to {count - 1}. Received: exit={exit}")
    number = exit % count
    return keras.Model(
        model.inputs[0], model.outputs[number], name=f"{model.name}_exit{number + 1}"
    )


class ExitStages:
    """A network cut where images can leave it.

    `go(i, values)` computes what images that leave at exit i or later need, `leave(i, values)` the
    logits of those that leave there. An image that goes on costs nothing of the exits it passes.

    Args:
        model: a functional `keras.Model` whose outputs are the logits of its exits.

    Raises:
        ValueError: if the model is not such a network.
    """

    def __init__(self, model: keras.Model) -> None:
        self._count = find_exits(model).exits
        self._input_key = id(model.inputs[0])
        self._trunks: list[GraphPart | None] = []
        self._exits: list[GraphPart | None] = []
        self._left_by_trunk: list[set[int]] = []
        self._kept: list[set[int]] = []
        self._output_keys = [id(output) for output in model.outputs]
        known = list(model.inputs)
        for number, output in enumerate(model.outputs):
            later = {id(tensor) for tensor in sources(model.outputs[number + 1 :])}
            new = [tensor for tensor in sources([output], known) if not _is_in(tensor, known)]
            shared = [tensor for tensor in new if id(tensor) in later]
            own = [tensor for tensor in new if id(tensor) not in later]
            unmade = sources(model.outputs[number + 1 :], [*known, *shared])
            read_later = _read_by(t for t in unmade if not _is_in(t, [*known, *shared]))
            left = read_later | _read_by(own) | {id(output)}
            self._trunks.append(_part(known, [t for t in shared if id(t) in left]))
            known = [*known, *shared]
            self._exits.append(_part(known, [output] if own else []))
            self._left_by_trunk.append(left)
            self._kept.append(read_later)

    def __len__(self) -> int:
        return self._count

    def begin(self, inputs: Any) -> dict[int, Any]:
        """The values before the first stage: the network's inputs."""
        return {self._input_key: inputs}

    def go(self, number: int, values: dict[int, Any]) -> dict[int, Any]:
        """Runs the stage up to an exit, in inference mode.

        Args:
            number: of the exit.
            values: what `begin` or `kept` gave, cut to the samples that go this far.

        Returns:
            the values that this exit and later stages read.
        """
        values = _computed(self._trunks[number], values)
        left = self._left_by_trunk[number]
        return {key: value for key, value in values.items() if key in left}

    def leave(self, number: int, values: dict[int, Any]) -> Any:
        """The logits of an exit, in inference mode.

        Args:
            number: of the exit.
            values: what `go` gave for this exit, cut to the samples that leave here.

        Returns:
            tensor of shape `(samples, classes)`.
        """
        return _computed(self._exits[number], values)[self._output_keys[number]]

    def kept(self, number: int, values: dict[int, Any]) -> dict[int, Any]:
        """Of what `go` gave for an exit, the values that later stages read."""
        return {key: value for key, value in values.items() if key in self._kept[number]}


def _part(known: list[Any], wanted: list[Any]) -> GraphPart | None:
    return GraphPart(known, wanted) if wanted else None


def _computed(part: GraphPart | None, values: dict[int, Any]) -> dict[int, Any]:
    """The values, with those that a part of the graph computes of them."""
    if part is None:
        return values
    made = part([values[id(tensor)] for tensor in part.inputs_read], training=False)
    return values | {id(tensor): value for tensor, value in zip(part.wanted, made, strict=True)}


def _read_by(tensors: Iterable[Any]) -> set[int]:
    return {id(source) for tensor in tensors for source in call_of(tensor).inputs}


def _is_in(tensor: Any, tensors: Iterable[Any]) -> bool:
    # Not `in`: symbolic tensors compare to symbolic tensors.
    return any(tensor is other for other in tensors)
