"""What the outputs of a network cost, whatever it runs on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from keras_lodin.utils.keras_internals import call_of

_CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
# Their weights can have the shape of an image or of a table, and still each value is used once.
_WITHOUT_PRODUCTS = (
    layers.Embedding,
    layers.LayerNormalization,
    layers.Normalization,
    layers.PReLU,
)


def multiply_adds(model: keras.Model, with_earlier_outputs: bool = False) -> list[int]:
    """The multiply-adds that each output of a model needs, for one input.

    Counted are the products with the kernels of convolutions (grouped, depthwise and separable
    ones too) and of dense layers, at every position, those where a kernel reaches into the padding
    included. Biases, normalisation, activations, pooling, and products of two tensors are not.
    Every layer that an output depends on counts, and no other.

    The FLOPs published for MSDNet count more: whole blocks, the parts included that only later
    exits read; all earlier exits; biases; one for each value that a ReLU returns and that average
    pooling reads; with 100 classes. That is 26.6, 51.6, 68.9, 88.4 and 105.1 million, where this
    function gives 24.3, 41.3, 58.8, 74.3 and 86.9, or with the earlier exits 24.3, 46.0, 67.0,
    87.9 and 104.5.

    Args:
        model: a functional or sequential model with inputs of known size; models inside of it
            are counted with what is inside of them.
        with_earlier_outputs: count for each output also what the outputs before it need, shared
            layers once: the cost of a network that is run from exit to exit.

    Returns:
        one number for each of `model.outputs`.

    Raises:
        ValueError: if the graph of the model or of a model inside of it is not known, a size is
            free, or a layer has weights of which it is not known how often they are used.

    Example:
    ```python
    multiply_adds(keras_lodin.models.MSDNet(num_classes=10))    # [24303872, ..., 86865152]
    ```
    """
    _check_graph(model)
    whole = _Scope(model)
    counts: dict[tuple[Any, ...], int] = {}
    totals = []
    for output in model.outputs:
        if not with_earlier_outputs:
            counts = {}
        _count(output, whole, counts)
        totals.append(sum(counts.values()))
    return totals


@dataclass(frozen=True)
class _Scope:
    """A model, and where it was called if it lies inside of another."""

    model: keras.Model
    path: tuple[Any, ...] = ()
    arguments: Sequence[Any] = ()
    outer: _Scope | None = None


def _count(tensor: Any, scope: _Scope, counts: dict[tuple[Any, ...], int]) -> None:
    """Adds the calls that a tensor depends on to `counts`, each under a key of its own."""
    waiting = [(tensor, scope)]
    while waiting:
        tensor, scope = waiting.pop()
        entrance = [source is tensor for source in scope.model.inputs]
        if any(entrance):
            if scope.outer is not None:
                waiting.append((scope.arguments[entrance.index(True)], scope.outer))
            continue
        call = call_of(tensor)
        key = (*scope.path, id(call.operation), call.number)
        if isinstance(call.operation, keras.Model):
            _check_graph(call.operation)
            inner = _Scope(call.operation, key, call.inputs, scope)
            waiting.append((call.operation.outputs[call.output], inner))
        elif key not in counts:
            counts[key] = _products(call.operation, tensor)
            waiting += [(source, scope) for source in call.inputs]


def _products(operation: Any, output: Any) -> int:
    """The multiply-adds of one call of a layer."""
    if isinstance(operation, _CONVOLUTIONS):
        last = operation.data_format == "channels_last"
        positions = output.shape[1:-1] if last else output.shape[2:]
    elif isinstance(operation, layers.Dense):
        positions = output.shape[1:-1]
    else:
        _check_without_products(operation)
        return 0
    if None in positions:
        raise ValueError(
            f"The layer {operation.name!r} has an output of free size. Expected a model whose "
            f"inputs have known sizes, as `keras.Input((32, 32, 3))`. "
            f"Received: output shape {tuple(output.shape)}"
        )
    kernels = (weight for weight in operation.weights if len(weight.shape) > 1)
    return math.prod(positions) * sum(math.prod(kernel.shape) for kernel in kernels)


def _check_without_products(operation: Any) -> None:
    if isinstance(operation, _WITHOUT_PRODUCTS):
        return
    shapes = [tuple(weight.shape) for weight in getattr(operation, "weights", ())]
    if any(len(shape) > 1 for shape in shapes):
        raise ValueError(
            f"The multiply-adds of the layer {operation.name!r} of type "
            f"{type(operation).__name__} are not known. Expected convolutions, dense layers, and "
            f"layers that multiply by no matrix. Received: weights of shapes {shapes}"
        )


def _check_graph(model: Any) -> None:
    if not hasattr(model, "outputs"):
        raise ValueError(
            "Which layers an output depends on is known for functional models and for sequential "
            f"ones that have been built. Received: model={model!r} of type {type(model).__name__}"
        )
