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

import keras
import numpy as np
from keras import ops

from keras_lodin.gradients import backend
from keras_lodin.models.layer_graph import GraphPart, is_enterable
from keras_lodin.models.places import Place
from keras_lodin.utils.keras_internals import call_of, run_node, runs_its_graph, shallow_copy
from keras_lodin.utils.tensor import Tensor

# Weightless operations are followed no further than this: a softmax is a few of them at most.
_FURTHEST = 24
_SAMPLES = 8


@dataclass(eq=False)
class SoftmaxEnd:
    """The end of a classifier's graph that turns logits into probabilities.

    Attributes:
        places: where what the end reads is, in one graph.
        tensor: what the operation at the border returns; None where the logits are at `places`.
        num_classes: the number of classes.
        after: from the value of `tensor` to the classifier's output.
    """

    places: list[Place]
    tensor: keras.KerasTensor | None
    num_classes: int
    after: Callable[[Tensor], Tensor]
    _checked: tuple[object, ...] | None = field(default=None, repr=False)

    @property
    def operation(self) -> keras.layers.Layer | None:
        """The layer whose activation the softmax is; None where it is not one layer's."""
        return None if self.tensor is None else call_of(self.tensor).operation

    def logits(self, values: Sequence[Tensor], training: bool | None = None) -> Tensor:
        """The logits, of shape `(batch, classes)`.

        Args:
            values: one for each of `places`.
            training: whether in training mode.

        Raises:
            ValueError: if the layer has changed since the last call, by quantisation for example,
                and what it gives without its activation are no longer its logits.
        """
        layer = self.operation
        # What is built into a graph stays there, so it is looked at once more before.
        is_built_in = not hasattr(values[0], "numpy")
        if layer is not None and (is_built_in or _state(layer) != self._checked):
            self.check()
        return self._logits_of(values, training)

    def check(self) -> None:
        """Raises ValueError if the layer has changed and its logits with it."""
        layer = self.operation
        found = None if layer is None else backend.run_eagerly(self.difference)
        if layer is None or found is None:  # nothing to change; or looked at before
            return
        if not found <= _tolerance(self.places[0].tensor, self.tensor):
            raise ValueError(
                f"The classifier's last layer {layer.name!r} has changed since it was wrapped: the "
                "softmax of what it gives without its activation is no longer what it returns. "
                "Give it back the `call` and the activation it had, or wrap the classifier again. "
                f"Received: a {type(layer).__name__} whose output differs by {found:.2g}"
            )
        self._checked = _state(layer)

    def difference(self) -> float:
        """How far the softmax of the logits is from the output, at most, on random values."""
        values = [_random_values(place.tensor, positive=True) for place in self.places]
        logits = self._logits_of(values, training=False)
        return _distance(self.after(self._run(self.operation, values, training=False)), logits)

    def is_softmax_of(self, logits: Tensor, output: Tensor) -> bool:
        """Whether a classifier's output is the softmax of logits, to the rounding of both."""
        return _distance(output, logits) <= _tolerance(self.places[0].tensor, self.tensor)

    def is_right(self) -> bool:
        """Whether the softmax of the logits is the output, to the rounding of its precision."""
        return self.difference() <= _tolerance(self.places[0].tensor, self.tensor)

    def _logits_of(self, values: Sequence[Tensor], training: bool | None) -> Tensor:
        # A copy of the layer as it is now: quantisation and LoRA replace its weights.
        layer = None if self.tensor is None else _without_softmax(self.operation)
        logits = self._run(layer, values, training)
        return logits if len(logits.shape) == 2 else ops.reshape(logits, (-1, self.num_classes))

    def _run(
        self, layer: keras.layers.Layer | None, values: Sequence[Tensor], training: bool | None
    ) -> Tensor:
        """What a layer in the place of `operation` returns; without one, the only value."""
        if layer is None:
            return values[0]
        known = (id(place.tensor) for place in self.places)
        return run_node(self.tensor, layer, dict(zip(known, values, strict=True)), training)


def find_softmax_end(classifier: keras.Model, num_classes: int) -> SoftmaxEnd | None:
    """Finds the end of a functional or sequential classifier that is a softmax over the classes.

    Args:
        classifier: the model; one whose graph of layers is unknown has no such end.
        num_classes: the number of classes.

    Returns:
        the end nearest to the output, or None.
    """
    for end in _candidates(classifier, num_classes):
        # What cannot be run on random values is no softmax of them.
        with contextlib.suppress(Exception):
            if end.is_right():
                if end.tensor is not None:
                    end._checked = _state(end.operation)
                return end
    return None


def nearest_miss(classifier: keras.Model, num_classes: int) -> str:
    """Of a classifier without such an end, a sentence on the layer that looks like one, or ""."""
    for end in _candidates(classifier, num_classes):
        layer = end.operation
        if layer is not None:
            with contextlib.suppress(Exception):
                return (
                    f"The {type(layer).__name__} {layer.name!r} has a softmax, but "
                    "what it returns differs from the softmax of what it gives without one, by up "
                    f"to {end.difference():.2g}. "
                )
    return ""


def behaves_as_identity(function: Callable[[Tensor], Tensor] | None) -> bool:
    """Whether a function of one tensor, such as an activation, returns what it gets."""
    if function is None or function is keras.activations.linear:
        return True
    values = _numbers((_SAMPLES, 5))
    with contextlib.suppress(Exception):
        found = ops.convert_to_numpy(function(ops.convert_to_tensor(values)))
        return found.shape == values.shape and bool(np.array_equal(found, values))
    return False


def _candidates(
    model: keras.Model,
    num_classes: int,
    calls: tuple[keras.KerasTensor, ...] = (),
    after: Callable[[Tensor], Tensor] = keras.activations.linear,
) -> Iterator[SoftmaxEnd]:
    """Ends that the softmax could be, the nearest to the output first."""
    if not runs_its_graph(model):
        return
    output = model.outputs[0]
    for tensor in _weightless_region(output):
        if not _is_all_that_is_read(tensor, output):
            continue
        part = GraphPart([tensor], [output])

        def finish(value: Tensor, part: GraphPart = part) -> Tensor:
            return after(part([value], training=False)[0])

        if _has_classes(tensor, num_classes):
            yield SoftmaxEnd([Place(tensor, calls)], None, num_classes, finish)
        call = call_of(tensor)
        operation = call.operation
        if is_enterable(operation):
            yield from _candidates(operation, num_classes, (*calls, tensor), finish)
        elif _has_classes(tensor, num_classes) and _ends_in_softmax(
            operation, tensor, finish, num_classes
        ):
            places = [Place(source, calls) for source in call.inputs]
            yield SoftmaxEnd(places, tensor, num_classes, finish)


def _ends_in_softmax(
    operation: keras.Operation,
    tensor: keras.KerasTensor,
    finish: Callable[[Tensor], Tensor],
    num_classes: int,
) -> bool:
    """Whether a layer's activation, with what comes after it, maps as a softmax does."""
    if _is_softmax_layer(operation):
        return True
    activation = vars(operation).get("activation")
    is_layer = isinstance(operation, keras.layers.Layer) and not isinstance(operation, keras.Model)
    if not is_layer or not callable(activation) or getattr(activation, "weights", None):
        return False
    with contextlib.suppress(Exception):
        values = _random_values(tensor)
        logits = ops.reshape(values, (-1, num_classes))
        return _distance(finish(activation(values)), logits) <= _tolerance(tensor)
    return False


def _is_softmax_layer(operation: keras.Operation) -> bool:
    """Keras's own layer, whose mask belongs to the logits."""
    kind = keras.layers.Softmax
    return isinstance(operation, kind) and type(operation).call is kind.call


def _without_softmax(operation: keras.layers.Layer) -> keras.layers.Layer:
    if _is_softmax_layer(operation):
        return shallow_copy(operation, call=_masked)
    # What is added to the loss for the output would be added for the logits.
    return shallow_copy(operation, activation=keras.activations.linear, activity_regularizer=None)


def _masked(inputs: Tensor, mask: Tensor = None) -> Tensor:
    """What the layer `Softmax` takes the softmax of."""
    if mask is None:
        return inputs
    if keras.backend.standardize_dtype(mask.dtype) != "bool":
        mask = ops.greater(mask, ops.cast(0.5, mask.dtype))
    least = -3e4 if keras.backend.standardize_dtype(inputs.dtype) == "float16" else -1e9
    return ops.where(mask, inputs, ops.cast(least, inputs.dtype))


def _state(layer: keras.layers.Layer) -> tuple[object, ...]:
    """What quantisation, LoRA and a user change in a layer."""
    return (
        layer.dtype_policy.name,
        getattr(layer, "lora_enabled", False),
        id(vars(layer).get("activation")),
        tuple(id(weight) for weight in layer.weights),
    )


def _weightless_region(output: keras.KerasTensor) -> list[keras.KerasTensor]:
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


def _ends_region(operation: keras.Operation) -> bool:
    return isinstance(operation, keras.Model) or bool(getattr(operation, "weights", None))


def _is_all_that_is_read(tensor: keras.KerasTensor, output: keras.KerasTensor) -> bool:
    """Whether a graph's output depends on nothing but one tensor, and on no weights after it."""
    waiting, seen = [output], {id(tensor)}
    while waiting:
        here = waiting.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        call = call_of(here)
        if not call.inputs or _ends_region(call.operation) or len(seen) > _FURTHEST + 1:
            return False
        waiting.extend(call.inputs)
    return True


def _has_classes(tensor: keras.KerasTensor, num_classes: int) -> bool:
    """Whether a tensor holds one number for each class and sample."""
    shape = tuple(tensor.shape)
    return len(shape) > 1 and None not in shape[1:] and int(np.prod(shape[1:])) == num_classes


def _numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=3.0, size=shape).astype("float32")


def _random_values(tensor: keras.KerasTensor, positive: bool = False) -> Tensor:
    """Values of a symbolic tensor's shape and dtype, positive where a layer may take their root."""
    # The same batch wherever a shape does not say; any size that a layer may see will do.
    shape = (_SAMPLES, *(2 if size is None else size for size in tensor.shape[1:]))
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    rng = np.random.default_rng(1)
    values: np.ndarray
    if dtype == "bool":
        values = rng.uniform(size=shape) < 0.7
        values[..., 0] = True
    elif "int" in dtype:
        values = rng.integers(0, 2, size=shape)
    else:
        values = np.abs(_numbers(shape)) / 3.0 if positive else _numbers(shape)
    return ops.convert_to_tensor(values, dtype=dtype)


def _distance(output: Tensor, logits: Tensor) -> float:
    """The largest difference of an output from the softmax of logits; infinite for other shapes."""
    found = ops.convert_to_numpy(ops.cast(output, "float32"))
    expected = ops.convert_to_numpy(ops.softmax(ops.cast(logits, "float32"), axis=-1))
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.max(np.abs(found - expected)))


def _tolerance(*tensors: keras.KerasTensor | None) -> float:
    """The rounding of probabilities that were computed in the precision of these tensors."""
    kinds = {keras.backend.standardize_dtype(t.dtype) for t in tensors if t is not None}
    return 3e-2 if "bfloat16" in kinds else 5e-3 if "float16" in kinds else 1e-4
