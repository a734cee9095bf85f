"""Networks with several exits: one exit as a classifier, and the work between two exits.

A network with early exits returns the logits of each. Where an easy image leaves at an early exit,
what only later exits need must not be computed; so the network is cut into stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_lodin.models.head import find_exits
from keras_lodin.models.layer_graph import GraphPart, sources
from keras_lodin.utils.tensor import Tensor


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
        find_exits(model)
        self._input_key = id(model.inputs[0])
        self._trunks: list[GraphPart] = []
        self._exits: list[GraphPart] = []
        known = list(model.inputs)
        for number, output in enumerate(model.outputs):
            there = {id(tensor) for tensor in known}
            later = {id(tensor) for tensor in sources(model.outputs[number + 1 :])}
            way = sources([output], known)
            shared = [t for t in way if id(t) in later and id(t) not in there]
            self._trunks.append(GraphPart(known, shared))
            known = [*known, *shared]
            self._exits.append(GraphPart(known, [output]))

    def __len__(self) -> int:
        return len(self._exits)

    def begin(self, inputs: Tensor) -> dict[int, Tensor]:
        """The values before the first stage: the network's inputs."""
        return {self._input_key: inputs}

    def go(self, number: int, values: dict[int, Tensor]) -> dict[int, Tensor]:
        """Runs the stage up to an exit, in inference mode.

        Args:
            number: of the exit.
            values: what `begin` or `kept` gave, cut to the samples that go this far.

        Returns:
            the values that this exit and later stages read.
        """
        trunk = self._trunks[number]
        made = zip(map(id, trunk.wanted), trunk.among(values), strict=True)
        return _read_by([self._exits[number], *self._after(number)], values | dict(made))

    def leave(self, number: int, values: dict[int, Tensor]) -> Tensor:
        """The logits of an exit, in inference mode.

        Args:
            number: of the exit.
            values: what `go` gave for this exit, cut to the samples that leave here.

        Returns:
            tensor of shape `(samples, classes)`.
        """
        return self._exits[number].among(values)[0]

    def kept(self, number: int, values: dict[int, Tensor]) -> dict[int, Tensor]:
        """Of what `go` gave for an exit, the values that later stages read."""
        return _read_by(self._after(number), values)

    def _after(self, number: int) -> list[GraphPart]:
        return [*self._trunks[number + 1 :], *self._exits[number + 1 :]]


def _read_by(parts: Sequence[GraphPart], values: dict[int, Tensor]) -> dict[int, Tensor]:
    read = {id(tensor) for part in parts for tensor in part.inputs_read}
    return {key: value for key, value in values.items() if key in read}
