"""Where a classifier's softmax is, told by what the end of its graph computes.

Names say nothing: a softmax may be a layer, an activation, an operation, a `Lambda` or a formula,
and what is called one may be none. So pieces of the graph are run on random values, and the piece
that maps them as a softmax does is the end; what enters it are the logits. Layers keep their own
`call`, with the activation replaced: a quantised head, one with LoRA weights or a subclass of
`Dense` gives its own logits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.models.layer_graph import GraphPart
from keras_lodin.utils.keras_internals import call_of, run_node, runs_its_graph, shallow_copy
from keras_lodin.utils.weight_values import run_eagerly

# Weightless operations are followed no further than this: a softmax is a few of them at most.
_FURTHEST = 24
_SAMPLES = 8


@dataclass(eq=False)
class SoftmaxEnd:
    """The end of a classifier's graph that turns logits into probabilities.

    Attributes:
        sources: symbolic tensors that the end reads, of the graph of the innermost model.
        calls: what the models on the way to it return, tensors of the graph around each, the
            outermost first; empty for a classifier whose own graph holds the end.
        tensor: what the operation at the border returns; None where `sources` are the logits.
        num_classes: the number of classes.
        after: from the value of `tensor` to the classifier's output.
    """

    sources: list[Any]
    calls: tuple[Any, ...]
    tensor: Any
    num_classes: int
    after: Callable[[Any], Any]
    _checked: Any = field(default=None, repr=False)

    @property
    def operation(self) -> Any:
        """The layer whose activation the softmax is; None where it is not one layer's."""
        return None if self.tensor is None else call_of(self.tensor).operation

    def logits(self, values: Sequence[Any], training: bool | None = None) -> Any:
        """The logits, of shape `(batch, classes)`.

        Args:
            values: one for each of `sources`.
            training: whether in training mode.

        Raises:
            ValueError: if the layer has changed since the last call, by quantisation for example,
                and what it gives without its activation are no longer its logits.
        """
        logits = values[0]
        if self.tensor is not None:
            state = _state(self.operation)
            # What is built into a graph stays there, so it is looked at once more before.
            if state != self._checked or not hasattr(logits, "numpy"):
                self._check_again()
                self._checked = state
            # A copy of the layer as it is now: quantisation and LoRA replace its weights.
            known = _by_tensor(self.sources, values)
            logits = run_node(self.tensor, _without_softmax(self.operation), known, training)
        if len(logits.shape) != 2:
            logits = ops.reshape(logits, (-1, self.num_classes))
        return logits

    def difference(self) -> float:
        """How far the softmax of the logits is from the output, at most, on random values."""
        values = [_random_values(source, positive=True) for source in self.sources]
        known = _by_tensor(self.sources, values)
        if self.tensor is None:
            logits, output = values[0], values[0]
        else:
            operation = self.operation
            logits = run_node(self.tensor, _without_softmax(operation), known, False)
            output = run_node(self.tensor, operation, known, False)
        logits = ops.reshape(logits, (-1, self.num_classes))
        return _distance(self.after(output), logits)

    def is_softmax_of(self, logits: Any, output: Any) -> bool:
        """Whether a classifier's output is the softmax of logits, to the rounding of both."""
        return _distance(output, logits) <= _tolerance(self.sources[0], self.tensor)

    def is_right(self) -> bool:
        """Whether the softmax of the logits is the output, to the rounding of its precision."""
        return self.difference() <= _tolerance(self.sources[0], self.tensor)

    def _check_again(self) -> None:
        found = run_eagerly(self.difference)
        if not found <= _tolerance(self.sources[0], self.tensor):
            layer = self.operation
            raise ValueError(
                f"The classifier's last layer {layer.name!r} has changed since it was wrapped: the "
                "softmax of what it gives without its activation is no longer what it returns. "
                "Give it back the `call` and the activation it had, or wrap the classifier again. "
                f"Received: a {type(layer).__name__} whose output differs by {found:.2g}"
            )


def find_softmax_end(classifier: keras.Model, num_classes: int) -> SoftmaxEnd | None:
    """Finds the end of a functional or sequential classifier that is a softmax over the classes.

    Args:
        classifier: the model; one whose graph of layers is unknown has no such end.
        num_classes: the number of classes.

    Returns:
        the end nearest to the output, or None.
    """
    if not runs_its_graph(classifier):
        return None
    for end in _candidates(classifier, (), lambda values: values, num_classes):
        # What cannot be run on random values is no softmax of them.
        with contextlib.suppress(Exception):
            if end.is_right():
                if end.tensor is not None:
                    end._checked = _state(end.operation)
                return end
    return None


def nearest_miss(classifier: keras.Model, num_classes: int) -> str:
    """Of a classifier without such an end, a sentence on the layer that looks like one, or ""."""
    if not runs_its_graph(classifier):
        return ""
    for end in _candidates(classifier, (), lambda values: values, num_classes):
        if end.tensor is not None:
            with contextlib.suppress(Exception):
                return (
                    f"The {type(end.operation).__name__} {end.operation.name!r} has a softmax, but "
                    "what it returns differs from the softmax of what it gives without one, by up "
                    f"to {end.difference():.2g}. "
                )
    return ""


def behaves_as_identity(function: Callable[[Any], Any] | None) -> bool:
    """Whether a function of one tensor, such as an activation, returns what it gets."""
    if function is None or function is keras.activations.linear:
        return True
    values = _numbers((_SAMPLES, 5))
    with contextlib.suppress(Exception):
        found = ops.convert_to_numpy(function(ops.convert_to_tensor(values)))
        return found.shape == values.shape and bool(np.array_equal(found, values))
    return False


def _candidates(
    model: Any, calls: tuple[Any, ...], after: Callable[[Any], Any], num_classes: int
) -> Iterator[SoftmaxEnd]:
    """Ends that the softmax could be, the nearest to the output first."""
    output = model.outputs[0]
    for tensor in _weightless_region(output):
        part = _part_between(tensor, output)
        if part is None:
            continue

        def finish(value: Any, part: Any = part) -> Any:
            return after(value if part is _NOTHING else part([value], training=False)[0])

        if _has_classes(tensor, num_classes):
            yield SoftmaxEnd([tensor], calls, None, num_classes, finish)
        call = call_of(tensor)
        operation = call.operation
        if runs_its_graph(operation):
            if len(operation.inputs) == 1 and len(operation.outputs) == 1:
                yield from _candidates(operation, (*calls, tensor), finish, num_classes)
        elif _has_classes(tensor, num_classes) and _ends_in_softmax(
            operation, tensor, finish, num_classes
        ):
            yield SoftmaxEnd(list(call.inputs), calls, tensor, num_classes, finish)


def _ends_in_softmax(operation: Any, tensor: Any, finish: Any, num_classes: int) -> bool:
    """Whether a layer's activation, with what comes after it, maps as a softmax does."""
    if _is_softmax_layer(operation):
        return True
    activation = vars(operation).get("activation")
    if not isinstance(operation, keras.layers.Layer) or not callable(activation):
        return False
    if isinstance(operation, keras.Model) or getattr(activation, "weights", None):
        return False
    with contextlib.suppress(Exception):
        values = _random_values(tensor)
        logits = ops.reshape(values, (-1, num_classes))
        return _distance(finish(activation(values)), logits) <= _tolerance(tensor)
    return False


def _is_softmax_layer(operation: Any) -> bool:
    """Keras's own layer, whose mask belongs to the logits."""
    kind = keras.layers.Softmax
    return isinstance(operation, kind) and type(operation).call is kind.call


def _without_softmax(operation: Any) -> Any:
    if _is_softmax_layer(operation):
        return shallow_copy(operation, call=_masked)
    # What is added to the loss for the output would be added for the logits.
    return shallow_copy(operation, activation=keras.activations.linear, activity_regularizer=None)


def _masked(inputs: Any, mask: Any = None) -> Any:
    """What the layer `Softmax` takes the softmax of."""
    if mask is None:
        return inputs
    if keras.backend.standardize_dtype(mask.dtype) != "bool":
        mask = ops.greater(mask, ops.cast(0.5, mask.dtype))
    least = -3e4 if keras.backend.standardize_dtype(inputs.dtype) == "float16" else -1e9
    return ops.where(mask, inputs, ops.cast(least, inputs.dtype))


def _state(layer: Any) -> Any:
    """What quantisation, LoRA and a user change in a layer."""
    return (
        layer.dtype_policy.name,
        getattr(layer, "lora_enabled", False),
        id(vars(layer).get("activation")),
        tuple(id(weight) for weight in layer.weights),
    )


def _by_tensor(tensors: Sequence[Any], values: Sequence[Any]) -> dict[int, Any]:
    return {id(tensor): value for tensor, value in zip(tensors, values, strict=True)}


_NOTHING = object()


def _weightless_region(output: Any) -> list[Any]:
    """A graph's output and what operations without weights make it of, the nearest first."""
    region, seen = [output], {id(output)}
    for tensor in region:
        call = call_of(tensor)
        if len(region) < _FURTHEST and not _ends_region(call.operation):
            for source in call.inputs:
                if id(source) not in seen:
                    seen.add(id(source))
                    region.append(source)
    return region


def _ends_region(operation: Any) -> bool:
    return isinstance(operation, keras.Model) or bool(getattr(operation, "weights", None))


def _part_between(tensor: Any, output: Any) -> Any:
    """What lies between a tensor and the output: `_NOTHING`, a part, or None.

    None where the output depends on more than the tensor, or on weights.
    """
    if tensor is output:
        return _NOTHING
    waiting, seen = [output], set()
    while waiting:
        here = waiting.pop()
        if here is tensor or id(here) in seen:
            continue
        seen.add(id(here))
        call = call_of(here)
        if not call.inputs or _ends_region(call.operation) or len(seen) > _FURTHEST:
            return None
        waiting.extend(call.inputs)
    return GraphPart([tensor], [output])


def _has_classes(tensor: Any, num_classes: int) -> bool:
    """Whether a tensor holds one number for each class and sample."""
    shape = tuple(tensor.shape)
    return len(shape) > 1 and None not in shape[1:] and int(np.prod(shape[1:])) == num_classes


def _numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=3.0, size=shape).astype("float32")


def _random_values(tensor: Any, positive: bool = False) -> Any:
    """Values of a symbolic tensor's shape and dtype, for a few samples.

    Args:
        tensor: the symbolic tensor.
        positive: whether numbers are positive: a layer may take their root or logarithm.
    """
    # The same batch wherever a shape does not say; any size that a layer may see will do.
    shape = (_SAMPLES, *(2 if size is None else size for size in tensor.shape[1:]))
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    rng = np.random.default_rng(1)
    values: Any
    if dtype == "bool":
        values = rng.uniform(size=shape) < 0.7
        values[..., 0] = True
    elif "int" in dtype:
        values = rng.integers(0, 2, size=shape)
    else:
        values = np.abs(_numbers(shape)) / 3.0 if positive else _numbers(shape)
    return ops.convert_to_tensor(values, dtype=dtype)


def _distance(output: Any, logits: Any) -> float:
    """The largest difference of an output from the softmax of logits; infinite for other shapes."""
    found = ops.convert_to_numpy(ops.cast(output, "float32"))
    expected = ops.convert_to_numpy(ops.softmax(ops.cast(logits, "float32"), axis=-1))
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.max(np.abs(found - expected)))


def _tolerance(*tensors: Any) -> float:
    """The rounding of probabilities that were computed in the precision of these tensors."""
    kinds = {keras.backend.standardize_dtype(t.dtype) for t in tensors if t is not None}
    return 3e-2 if "bfloat16" in kinds else 5e-3 if "float16" in kinds else 1e-4
