"""Where a classifier's features are: found without touching the model, computed with its logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.models.head import LINEAR, looks_through
from keras_lodin.models.integer_inputs import inputs_to_take_floats, taking_floats
from keras_lodin.models.layer_graph import GraphPart, sources
from keras_lodin.models.output_kind import made_inputs
from keras_lodin.models.softmax_end import SoftmaxEnd, find_softmax_end
from keras_lodin.utils.keras_internals import (
    call_of,
    has_own_way_to_call,
    layers_of,
    runs_its_graph,
)
from keras_lodin.utils.registry import did_you_mean


@dataclass(frozen=True)
class _Place:
    """Where a symbolic tensor is: in a functional model, or in one called within it.

    Attributes:
        tensor: the tensor, of the graph of the innermost of these models.
        calls: what the models on the way to it return, tensors of the graph around each, the
            outermost first; empty for a tensor of the model itself.
    """

    tensor: Any
    calls: tuple[Any, ...] = ()


class FeatureLayers:
    """The features of some of a classifier's layers, and its logits, in one pass.

    Features of more than one axis are averaged over all axes between the batch and the last, the
    channels.

    Args:
        classifier: a functional or sequential model with one input and one output, the logits or
            their softmax.
        from_logits: whether the classifier returns logits.
        names: names of layers, those of models within the classifier too; their outputs are the
            features. None for what enters the classifier's last layer.

    Attributes:
        names: as given, a tuple or None.
        sizes: the number of features of each layer.

    Raises:
        ValueError: for a classifier whose graph of layers is unknown, one whose last layer is not
            found, and names of no layer or of several.
    """

    def __init__(
        self, classifier: keras.Model, from_logits: bool, names: Sequence[str] | None = None
    ) -> None:
        if not runs_its_graph(classifier):
            raise ValueError(
                f"The layers of the classifier {classifier.name!r} cannot be seen: it is a "
                "subclassed model, or has a `call` of its own. Expected a functional or "
                "sequential model. Build one of its parts: "
                "`keras.Model(inputs, head(trunk(inputs)))`. "
                f"Received: classifier={classifier!r}"
            )
        self.names = None if names is None else tuple(names)
        end = None
        if not from_logits:
            end = find_softmax_end(classifier, classifier.outputs[0].shape[-1])
        if self.names is None:
            places = [_head_input(classifier, end)]
        else:
            places = _named(classifier, self.names)
        self.sizes = tuple(_size(place.tensor) for place in places)
        ends = [_Place(classifier.outputs[0])]
        if end is not None:
            ends = [_Place(source, end.calls) for source in end.sources]
        self._end = end
        self._values = taking_floats(
            _values_function(classifier, [*places, *ends]), inputs_to_take_floats(classifier)
        )
        self._check(classifier)

    def _check(self, classifier: keras.Model) -> None:
        """Refuses a classifier of which a model within does more, when called, than its graph."""
        own = [
            layer
            for layer in (classifier, *layers_of(classifier))
            if runs_its_graph(layer) and has_own_way_to_call(layer)
        ]
        if not own:
            return
        inputs = made_inputs(classifier.inputs[0].shape, classifier.inputs[0].dtype)
        logits = self(inputs)[-1]
        (output,) = keras.tree.flatten(classifier(inputs, training=False))
        expected = ops.cast(output, "float32")
        found = logits if self._end is None else ops.softmax(logits)
        if not np.allclose(found, expected, rtol=1e-2, atol=1e-2, equal_nan=True):
            names = ", ".join(repr(layer.name) for layer in own)
            raise ValueError(
                f"The layers of {names} do not give what calling it does: it has a `__call__` of "
                "its own. Put what that does into layers. "
                f"Received: classifier={classifier!r}"
            )

    def __call__(self, inputs: Any) -> list[Any]:
        """The features of each layer, and the logits as the last: float32, `(batch, ...)`."""
        values = self._values(inputs)
        features, ends = values[: len(self.sizes)], values[len(self.sizes) :]
        logits = ends[0] if self._end is None else self._end.logits(ends, training=False)
        return [*map(_pooled, features), ops.cast(logits, "float32")]


def _pooled(features: Any) -> Any:
    features = ops.cast(features, "float32")
    axes = tuple(range(1, len(features.shape) - 1))
    return ops.mean(features, axis=axes) if axes else features


def _size(tensor: Any) -> int:
    shape = tuple(tensor.shape)
    if len(shape) < 2 or shape[-1] is None:
        raise ValueError(
            "Features must have a known number of channels, the last axis. "
            f"Received: features of shape {shape} from the layer {call_of(tensor).operation.name!r}"
        )
    return shape[-1]


def _head_input(classifier: keras.Model, end: SoftmaxEnd | None) -> _Place:
    """What enters the last layer with weights."""
    model, tensor = classifier, classifier.outputs[0]
    calls: tuple[Any, ...] = ()
    if end is not None:
        if getattr(end.operation, "weights", None):
            return _Place(end.sources[0], end.calls)
        model = call_of(end.calls[-1]).operation if end.calls else classifier
        calls, tensor = end.calls, end.sources[0]
    while True:
        call = call_of(tensor)
        operation = call.operation
        if _is_enterable(operation):
            model, calls, tensor = operation, (*calls, tensor), operation.outputs[0]
        elif isinstance(operation, LINEAR):
            return _Place(call.inputs[0], calls)
        elif looks_through(operation):
            tensor = call.inputs[0]
        else:
            raise ValueError(
                f"The classifier {classifier.name!r} does not end in a `Dense` layer whose input "
                "could be taken as its features. Name the layers whose outputs are: "
                "`layers=[...]`. Received: layers=None, and a classifier that ends in "
                f"{operation.name!r} of {model.name!r}"
            )


def _named(classifier: keras.Model, names: Sequence[str]) -> list[_Place]:
    places = _places_by_name(classifier)
    for name in names:
        if name not in places:
            raise ValueError(
                "`layers` must name layers that the classifier's output depends on."
                f"{did_you_mean(name, places)} Received: layers={list(names)}, of which the "
                f"classifier {classifier.name!r} has no {name!r}"
            )
        if len(places[name]) > 1:
            raise ValueError(
                "`layers` must name layers with one output each, called once. "
                f"Received: layers={list(names)}, of which {name!r} stands for "
                f"{len(places[name])} tensors in the classifier {classifier.name!r}"
            )
    return [places[name][0] for name in names]


def _places_by_name(model: keras.Model, calls: tuple[Any, ...] = ()) -> dict[str, list[_Place]]:
    """The outputs of all layers that a model's output depends on, by the layer's name."""
    places: dict[str, list[_Place]] = {}
    for tensor in sources(model.outputs):
        operation = call_of(tensor).operation
        places.setdefault(operation.name, []).append(_Place(tensor, calls))
        if _is_enterable(operation):
            for name, inner in _places_by_name(operation, (*calls, tensor)).items():
                places.setdefault(name, []).extend(inner)
    return places


def _is_enterable(operation: Any) -> bool:
    """Whether an operation is a model with a known graph, from one tensor to one tensor."""
    return runs_its_graph(operation) and len(operation.inputs) == 1 and len(operation.outputs) == 1


def _values_function(model: keras.Model, places: Sequence[_Place]) -> Callable[[Any], list[Any]]:
    """A function from a model's inputs to the values at several places, in one pass.

    Models within the model that hold a place are run one after the other, and what lies between
    them in parts. (One function per place would run the network once per place: TensorFlow's
    graph optimizer does not merge operations that read variables.)
    """
    known = [model.inputs[0]]
    stages = []
    for tensor in sources(model.outputs):
        numbers = [
            number
            for number, place in enumerate(places)
            if place.calls and place.calls[0] is tensor
        ]
        if numbers:
            inner, source = call_of(tensor).operation, call_of(tensor).inputs[0]
            inside = [_Place(places[number].tensor, places[number].calls[1:]) for number in numbers]
            run_inner = _values_function(inner, [*inside, _Place(inner.outputs[0])])
            stages.append((GraphPart(known, [source]), tensor, run_inner, numbers))
            known.append(tensor)
    direct = [number for number, place in enumerate(places) if not place.calls]
    last = GraphPart(known, [places[number].tensor for number in direct]) if direct else None

    def run(inputs: Any) -> list[Any]:
        values = {id(known[0]): ops.cast(inputs, model.inputs[0].dtype)}
        found: dict[int, Any] = {}
        for part, tensor, run_inner, numbers in stages:
            *inside, output = run_inner(_run(part, values)[0])
            found |= zip(numbers, inside, strict=True)
            values[id(tensor)] = output
        if last is not None:
            found |= zip(direct, _run(last, values), strict=True)
        return [found[number] for number in range(len(places))]

    return run


def _run(part: GraphPart, values: dict[int, Any]) -> list[Any]:
    return part([values[id(tensor)] for tensor in part.inputs_read], training=False)
