"""Values amid a classifier: of its own graph, or of models that are called within it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
from keras import ops

from keras_lodin.models.layer_graph import GraphPart, sources
from keras_lodin.utils.keras_internals import call_of
from keras_lodin.utils.tensor import Tensor


@dataclass(frozen=True)
class Place:
    """Where a symbolic tensor is: in a functional model, or in one called within it.

    Attributes:
        tensor: the tensor, of the graph of the innermost of these models.
        calls: what the models on the way to it return, tensors of the graph around each, the
            outermost first; empty for a tensor of the model itself.
    """

    tensor: keras.KerasTensor
    calls: tuple[keras.KerasTensor, ...] = ()

    @property
    def key(self) -> tuple[int, ...]:
        """Equal for the same place: symbolic tensors have an equality of their own."""
        return tuple(map(id, (self.tensor, *self.calls)))


def values_at(model: keras.Model, places: Sequence[Place]) -> Callable[[Tensor], list[Tensor]]:
    """A function from a model's inputs to the values at several places, in inference mode.

    Models within the model that hold a place are run one after the other, and what lies between
    them in parts. (One function per place would run the network once per place: TensorFlow's
    graph optimizer does not merge operations that read variables.)
    """
    known, entered = [model.inputs[0]], []
    for tensor in sources(model.outputs):
        inside = {
            number: Place(place.tensor, place.calls[1:])
            for number, place in enumerate(places)
            if place.calls and place.calls[0] is tensor
        }
        if inside:
            entered.append((GraphPart(known, call_of(tensor).inputs), tensor, inside))
            known.append(tensor)
    direct = {number: place.tensor for number, place in enumerate(places) if not place.calls}
    last = GraphPart(known, list(direct.values()))
    parts = [*(part for part, *_ in entered), last]
    read = {id(source) for part in parts for source in part.inputs_read}
    stages = []
    for part, tensor, inside in entered:
        inner = call_of(tensor).operation
        # The end of a model is run only where something comes after it.
        end = [Place(inner.outputs[0])] if id(tensor) in read else []
        stages.append((part, tensor, inside, values_at(inner, [*inside.values(), *end])))

    def run(inputs: Tensor) -> list[Tensor]:
        values = {id(known[0]): ops.cast(inputs, model.inputs[0].dtype)}
        found: dict[int, Tensor] = {}
        for part, tensor, inside, run_inner in stages:
            made = run_inner(part.among(values)[0])
            found |= zip(inside, made, strict=False)
            values[id(tensor)] = made[-1]
        if direct:
            found |= zip(direct, last.among(values), strict=True)
        return [found[number] for number in range(len(places))]

    return run
