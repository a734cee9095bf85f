"""Pieces of a functional model's graph, run on their own without touching the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

from keras_lodin.utils.keras_internals import call_of, run_call, runs_its_graph
from keras_lodin.utils.tensor import Tensor


def is_enterable(operation: keras.Operation) -> bool:
    """Whether an operation is a model with a known graph, from one tensor to one tensor."""
    return runs_its_graph(operation) and len(operation.inputs) == len(operation.outputs) == 1


def sources(
    tensors: Sequence[keras.KerasTensor], known: Sequence[keras.KerasTensor] = ()
) -> list[keras.KerasTensor]:
    """Symbolic tensors and all that they are computed from, sources first.

    Args:
        tensors: the tensors.
        known: tensors at which the way back ends.
    """
    ends = {id(tensor) for tensor in known}
    found: dict[int, keras.KerasTensor] = {}
    waiting = [(tensor, False) for tensor in reversed(tensors)]
    while waiting:
        tensor, expanded = waiting.pop()
        if id(tensor) in found:
            continue
        if expanded or id(tensor) in ends:
            found[id(tensor)] = tensor
        else:
            waiting.append((tensor, True))
            waiting.extend((source, False) for source in reversed(call_of(tensor).inputs))
    return list(found.values())


class GraphPart(keras.layers.Layer):
    """What lies between some tensors of a model's graph, in inference mode.

    Not a `keras.Model`: made from tensors amid a graph, it adds calls to the layers of that graph,
    which are the user's.

    Args:
        known: the tensors whose values there are.
        wanted: the tensors to compute from them; those that are known are given back.

    Attributes:
        inputs_read: those of `known` that the others are computed from.
        wanted: as given.
    """

    def __init__(
        self, known: Sequence[keras.KerasTensor], wanted: Sequence[keras.KerasTensor]
    ) -> None:
        # What is between layers keeps its own precision.
        super().__init__(autocast=False, name="part")
        needed, ends = sources(wanted, known), {id(tensor) for tensor in known}
        self.inputs_read = tuple(tensor for tensor in needed if id(tensor) in ends)
        self.wanted = tuple(wanted)
        # Not a `keras.Function`: before Keras 3.13 none begins amid a graph.
        self._made = tuple(tensor for tensor in needed if id(tensor) not in ends)
        self.built = True

    def call(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The values of `wanted`, from those of `inputs_read`."""
        found = dict(zip(map(id, self.inputs_read), values, strict=True))
        returned: dict[tuple[int, int], list[Tensor]] = {}
        for tensor in self._made:
            call = call_of(tensor)
            key = (id(call.operation), call.number)
            if key not in returned:
                returned[key] = run_call(call, call.operation, found, training=False)
            found[id(tensor)] = returned[key][call.output]
        return [found[id(tensor)] for tensor in self.wanted]

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor = None) -> None:
        """None of its own: what it returns has the masks that the layers within gave it."""

    def among(self, values: Mapping[int, Tensor]) -> list[Tensor]:
        """The values of `wanted`, from those of all tensors there are, by the tensors' `id`."""
        return self([values[id(tensor)] for tensor in self.inputs_read], training=False)
