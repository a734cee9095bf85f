"""The dense layer that a classifier ends in, in training too: features in, logits out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import ops

from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.models.integer_inputs import inputs_to_take_floats, taking_floats
from keras_lodin.models.softmax_end import behaves_as_identity, find_softmax_end
from keras_lodin.utils.keras_internals import (
    call_of,
    has_own_way_to_call,
    run_node,
    runs_its_graph,
)
from keras_lodin.utils.tensor import Tensor


@dataclass(frozen=True)
class LinearEnd:
    """A classifier's last layer, where it is a `Dense` one with nothing but a softmax behind it.

    What `LinearHead` is for scores, this is for gradients: it has no numbers of its own, and the
    classifier may be run in training mode.

    Attributes:
        size: the number of features.
        outputs: `(inputs, training=None)` to the logits, `(batch, classes)`, and the features,
            `(batch, size)`; shares the classifier's weights.
        layer: the layer.
    """

    size: int
    outputs: Callable[..., list[Tensor]]
    layer: keras.layers.Dense

    @property
    def kernel(self) -> Tensor:
        """By which the logits are linear in the features: float32, `(size, classes)`."""
        return ops.cast(self.layer.kernel, "float32")


def find_linear_end(head: ClassifierHead, most_features: int) -> LinearEnd | None:
    """The dense layer that a classifier ends in.

    Args:
        head: of the classifier.
        most_features: how many features are of use.

    Returns:
        None for a classifier that ends in something else, or has more features, or whose graph of
        layers is unknown.
    """
    classifier = head.classifier
    if head.exits or not runs_its_graph(classifier) or has_own_way_to_call(classifier):
        return None
    tensor = classifier.outputs[0]
    while type(call_of(tensor).operation) is not keras.layers.Dense:
        call = call_of(tensor)
        if len(call.inputs) != 1 or getattr(call.operation, "weights", None):
            return None
        (tensor,) = call.inputs
    layer = call_of(tensor).operation
    (features,) = call_of(tensor).inputs
    size = features.shape[-1]
    if len(features.shape) != 2 or size > most_features or layer.quantization_mode is not None:
        return None
    end = None if head.from_logits else find_softmax_end(classifier, head.num_classes)
    is_within = end is not None and end.operation is layer
    if not is_within:
        last = classifier.outputs[0] if end is None else end.places[0].tensor
        if tensor is not last or not behaves_as_identity(layer.activation):
            return None
    trunk = keras.Model(classifier.inputs[0], features, name=f"{classifier.name}_features")

    def outputs(inputs: Tensor, training: bool | None = None) -> list[Tensor]:
        value = trunk(inputs, training=training)
        if end is not None and is_within:
            return [end.logits([value], training), value]
        return [run_node(tensor, layer, {id(features): value}, training), value]

    return LinearEnd(size, taking_floats(outputs, inputs_to_take_floats(classifier)), layer)
