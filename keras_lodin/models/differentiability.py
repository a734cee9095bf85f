"""Whether a classifier has a gradient with respect to its inputs, told before it is asked for.

A backend tells when the gradient is taken, deep inside of a traced graph. To trace a whole network
only to find out costs seconds, so its graph of layers is walked instead: what is Keras's own is
known, and of anything else a graph of that one layer is traced.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import keras

from keras_lodin.gradients import has_gradient
from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.models.layer_graph import is_enterable, sources
from keras_lodin.utils.keras_internals import (
    call_of,
    is_of_keras,
    layers_of,
    run_node,
    runs_its_graph,
)
from keras_lodin.utils.tensor import Tensor

# They look up, count or sort into bins: no small step on their inputs changes what they return.
_LOOKING_UP = (
    keras.layers.CategoryEncoding,
    keras.layers.Discretization,
    keras.layers.Embedding,
    keras.layers.HashedCrossing,
    keras.layers.Hashing,
    keras.layers.IntegerLookup,
    keras.layers.StringLookup,
    keras.layers.TextVectorization,
)
# Of the layers that prepare inputs, those that only compute.
_PREPARING = (
    keras.layers.CenterCrop,
    keras.layers.Normalization,
    keras.layers.Rescaling,
    keras.layers.Resizing,
)
# What was found of operations without weights, which differ by nothing else.
_KNOWN: dict[Hashable, bool] = {}


def check_differentiable(head: ClassifierHead, who: str) -> None:
    """Raises ValueError for a classifier whose logits have no gradient with respect to its inputs.

    Args:
        head: a classifier, and where its logits are.
        who: what needs the gradient, for the message.
    """
    classifier = head.classifier
    stops = gradient_stops(classifier)
    if stops:
        listed = ", ".join(f"{stop.name!r} ({type(stop).__name__})" for stop in stops)
        received = f"with a gradient that ends at {listed}"
    elif head.input_dtype != "float32":
        received = f"which computes with its inputs as {head.input_dtype}, not with their values"
    elif stops is None and not has_gradient(
        lambda inputs: head.logits(inputs, training=False),
        [keras.KerasTensor(head.input_shape, dtype="float32")],
        [0],
    ):
        received = "a subclassed model, somewhere in which the gradient ends"
    else:
        return
    raise ValueError(
        f"{who} needs the gradient of the logits with respect to the inputs, and the classifier "
        f"{classifier.name!r} has none: its inputs are looked up, cast to integers, rounded or "
        "detached. MSPDetector, MaxLogitDetector and EnergyDetector need no gradient. Or wrap the "
        "part that is differentiable, a model from there on: of one that embeds tokens, "
        "`keras.Model(embedded, logits)` with `embedded = keras.Input((length, size))`. "
        f"Received: classifier={classifier!r}, {received}"
    )


def gradient_stops(model: keras.Model) -> list[keras.Operation] | None:
    """The operations at which the gradient of a model's output with respect to its input ends.

    Args:
        model: a `keras.Model` with one input.

    Returns:
        the operations; an empty list where the gradient arrives at the input; None for a model
        whose graph of layers is unknown.
    """
    if not runs_its_graph(model):
        return None
    carrying = {id(model.inputs[0])}
    stops = []
    for tensor in sources(model.outputs):
        entering = [source for source in call_of(tensor).inputs if id(source) in carrying]
        if not entering:
            continue
        ends = _ends_within(tensor, entering)
        if ends:
            stops.extend(ends)
        else:
            carrying.add(id(tensor))
    return [] if any(id(output) in carrying for output in model.outputs) else stops


def integer_inputs(model: keras.Model) -> list[keras.KerasTensor]:
    """The inputs of a model, and of models within it, that take integers, and cast floats to them.

    Args:
        model: a `keras.Model` with one input.

    Returns:
        symbolic tensors; none for a model that takes floats.
    """
    if not runs_its_graph(model) or _is_float(model.inputs[0]):
        return []
    found = [model.inputs[0]]
    for tensor in sources(model.outputs):
        call = call_of(tensor)
        if is_enterable(call.operation) and not _is_float(call.inputs[0]):
            found.extend(integer_inputs(call.operation))
    return found


def _ends_within(
    tensor: keras.KerasTensor, entering: Sequence[keras.KerasTensor]
) -> list[keras.Operation]:
    """The operations at which the gradient ends on its way through the call that made a tensor."""
    call = call_of(tensor)
    operation = call.operation
    if is_enterable(operation):
        if _is_float(entering[0]) and not _is_float(operation.inputs[0]):
            return [operation]  # It casts what it is given.
        return gradient_stops(operation) or []
    if any(map(_is_float, entering)) and not _is_float(tensor):
        return [operation]
    if _is_known_layer(operation):
        return []
    if isinstance(operation, _LOOKING_UP):
        return [operation]
    return [] if _carries(tensor, entering) else [operation]


def _is_float(tensor: keras.KerasTensor) -> bool:
    return "float" in keras.backend.standardize_dtype(tensor.dtype)


def _is_known_layer(operation: keras.Operation) -> bool:
    """Whether an operation is a layer of Keras's own, differentiable with all its parts."""
    return isinstance(operation, keras.layers.Layer) and all(
        map(_is_known, [operation, *layers_of(operation)])
    )


def _is_known(layer: keras.layers.Layer) -> bool:
    if is_of_keras(layer, "layers.preprocessing") and type(layer) not in _PREPARING:
        return False
    activations = (getattr(layer, name, None) for name in ("activation", "recurrent_activation"))
    return (
        (is_of_keras(layer, "layers") or is_of_keras(layer, "applications"))
        and not isinstance(layer, (keras.layers.Lambda, keras.layers.TFSMLayer, *_LOOKING_UP))
        and "float" in layer.compute_dtype
        and getattr(layer, "quantization_mode", None) is None
        and all(
            activation is None
            or str(getattr(activation, "__module__", "")).startswith("keras.src.activations.")
            or (isinstance(activation, keras.layers.Layer) and _is_known(activation))
            for activation in activations
        )
    )


def _carries(tensor: keras.KerasTensor, entering: Sequence[keras.KerasTensor]) -> bool:
    call = call_of(tensor)
    inputs = list({id(source): source for source in call.inputs}.values())
    carrying = set(map(id, entering))
    watched = [number for number, source in enumerate(inputs) if id(source) in carrying]

    def run(*values: Tensor) -> Tensor:
        by_id = {id(source): value for source, value in zip(inputs, values, strict=True)}
        return run_node(tensor, call.operation, by_id, training=False)

    if not is_of_keras(call.operation, "ops") or is_of_keras(call.operation, "ops.core"):
        return has_gradient(run, inputs, watched)
    dtypes = tuple(source.dtype for source in [*inputs, tensor])
    key = type(call.operation), dtypes, tuple(watched)
    if key not in _KNOWN:
        _KNOWN[key] = has_gradient(run, inputs, watched)
    return _KNOWN[key]
