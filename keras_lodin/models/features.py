"""Where a classifier's features are: found without touching the model, computed with its logits."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_lodin.models.head import LINEAR, looks_through
from keras_lodin.models.integer_inputs import inputs_to_take_floats, taking_floats
from keras_lodin.models.layer_graph import is_enterable, sources
from keras_lodin.models.output_kind import made_inputs
from keras_lodin.models.places import Place, values_at
from keras_lodin.models.softmax_end import SoftmaxEnd, find_softmax_end
from keras_lodin.utils.keras_internals import (
    call_of,
    has_own_way_to_call,
    layers_of,
    runs_its_graph,
)
from keras_lodin.utils.registry import did_you_mean
from keras_lodin.utils.tensor import Tensor

# Averages of logits over places are the logits of averages: a 1x1 convolution may come before.
_AVERAGING = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)


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
        last_layer: where `names` is None, the symbolic output of the layer that makes logits of
            the features; otherwise None.

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
        classes = classifier.outputs[0].shape[-1]
        end = None if from_logits else find_softmax_end(classifier, classes)
        last = last_linear_layer(classifier, end) if names is None else None
        self._take(classifier, end, _named(classifier, names or ()) if last is None else [last[0]])
        self.last_layer = None if last is None else last[1]
        self._check()

    def _take(
        self, classifier: keras.Model, end: SoftmaxEnd | None, places: Sequence[Place]
    ) -> None:
        self._classifier, self._end, self._places = classifier, end, tuple(places)
        self.sizes = tuple(_size(place.tensor) for place in places)
        ends = [Place(classifier.outputs[0])] if end is None else end.places
        self._values = taking_floats(
            values_at(classifier, [*places, *ends]), inputs_to_take_floats(classifier)
        )

    @classmethod
    def joined(cls, several: Sequence[FeatureLayers]) -> FeatureLayers:
        """The layers of several of one classifier, each once, in one pass.

        Args:
            several: one or more, of the same classifier.
        """
        first, joined = several[0], cls.__new__(cls)
        places = {place.key: place for layers in several for place in layers._places}
        joined._take(first._classifier, first._end, list(places.values()))
        joined.names = joined.last_layer = None
        return joined

    def numbers_of(self, other: FeatureLayers) -> list[int]:
        """Which of these layers are those of another, in its order."""
        keys = [place.key for place in self._places]
        return [keys.index(place.key) for place in other._places]

    def _check(self) -> None:
        """Refuses a classifier of which a model within does more, when called, than its graph."""
        classifier = self._classifier
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

    def __call__(self, inputs: Tensor) -> list[Tensor]:
        """The features of each layer, and the logits as the last: float32, `(batch, ...)`."""
        values = self._values(inputs)
        features, ends = values[: len(self.sizes)], values[len(self.sizes) :]
        logits = ends[0] if self._end is None else self._end.logits(ends, training=False)
        return [*map(_pooled, features), ops.cast(logits, "float32")]


def _pooled(features: Tensor) -> Tensor:
    features = ops.cast(features, "float32")
    axes = tuple(range(1, len(features.shape) - 1))
    return ops.mean(features, axis=axes) if axes else features


def _size(tensor: keras.KerasTensor) -> int:
    shape = tuple(tensor.shape)
    if len(shape) < 2 or shape[-1] is None:
        raise ValueError(
            "Features must have a known number of channels, the last axis. "
            f"Received: features of shape {shape} from the layer {call_of(tensor).operation.name!r}"
        )
    return shape[-1]


def last_linear_layer(
    classifier: keras.Model, end: SoftmaxEnd | None
) -> tuple[Place, keras.KerasTensor]:
    """What enters the last layer with weights, and what that layer returns.

    Raises:
        ValueError: for a classifier that does not end in such a layer.
    """
    if end is not None and getattr(end.operation, "weights", None):
        return end.places[0], end.tensor
    place = Place(classifier.outputs[0]) if end is None else end.places[0]
    calls, tensor = place.calls, place.tensor
    model = call_of(calls[-1]).operation if calls else classifier
    while True:
        call = call_of(tensor)
        operation = call.operation
        if is_enterable(operation):
            model, calls, tensor = operation, (*calls, tensor), operation.outputs[0]
        elif isinstance(operation, LINEAR):
            return Place(call.inputs[0], calls), tensor
        elif looks_through(operation) or isinstance(operation, _AVERAGING):
            tensor = call.inputs[0]
        else:
            raise ValueError(
                f"The classifier {classifier.name!r} does not end in a `Dense` layer whose input "
                "could be taken as its features. Name the layers whose outputs are: "
                "`layers=[...]`. Received: layers=None, and a classifier that ends in "
                f"{operation.name!r} of {model.name!r}"
            )


def _named(classifier: keras.Model, names: Sequence[str]) -> list[Place]:
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


def _places_by_name(
    model: keras.Model, calls: tuple[keras.KerasTensor, ...] = ()
) -> dict[str, list[Place]]:
    """The outputs of all layers that a model's output depends on, by the layer's name."""
    places: dict[str, list[Place]] = {}
    for tensor in sources(model.outputs):
        operation = call_of(tensor).operation
        places.setdefault(operation.name, []).append(Place(tensor, calls))
        if is_enterable(operation):
            for name, inner in _places_by_name(operation, (*calls, tensor)).items():
                places.setdefault(name, []).extend(inner)
    return places
