"""Any operation of a graph, in both directions, by TensorFlow's own gradient function.

It is right for all operations whose second derivative TensorFlow has, and slower than a rule of
one's own (`rules.py`): backwards it writes out for every cotangent what could be broadcast,
forwards it transposes twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import tensorflow as tf

from keras_lodin.gradients.tensorflow.graph_walk import (
    differentiates_to_nothing,
    operations_between,
    second_derivative_is_wrong,
    with_called,
)
from keras_lodin.gradients.tensorflow.tensorflow_internals import gradient_function
from keras_lodin.utils.tensor import Tensor


def pull(
    operation: tf.Operation, upstream: Sequence[Tensor | None], wanted: Sequence[bool]
) -> Sequence[Tensor | None]:
    """The inputs' cotangents: the gradient function, vectorised over the cotangents.

    Args:
        operation: of a graph.
        upstream: the cotangents of each output, `(count, *shape)`, or None for zeros.
        wanted: whether a derivative leads to each input.

    Returns:
        a tensor `(count, *shape)` or None for each input.
    """
    gradient = gradient_function(operation)
    if gradient is None:
        return [None] * len(wanted)
    count = tf.shape(next(cotangent for cotangent in upstream if cotangent is not None))[0]
    filled = [
        tf.zeros(tf.concat([[count], tf.shape(output)], 0), output.dtype)
        if cotangent is None
        else cotangent
        for cotangent, output in zip(upstream, operation.outputs, strict=True)
    ]
    places: list[int] = []
    missing: list[str] = []

    def single(cotangents: Sequence[Tensor]) -> list[Tensor]:
        graph = tf.compat.v1.get_default_graph()
        known = len(graph.get_operations())
        pulled = gradient(operation, *cotangents)
        added = graph.get_operations()[known:]
        missing[:] = [o.type for o in added if differentiates_to_nothing(o)]
        missing.extend(o.type for o in with_called([operation]) if second_derivative_is_wrong(o))
        pulled = pulled if isinstance(pulled, (list, tuple)) else [pulled]
        places[:] = [n for n, back in enumerate(pulled) if wanted[n] and back is not None]
        return [tf.convert_to_tensor(pulled[n]) for n in places]

    results = tf.vectorized_map(single, filled)
    backs: list[Tensor | None] = [None] * len(wanted)
    for place, result in zip(places, results, strict=True):
        backs[place] = _only_once(result, operation) if missing else result
    return backs


def push(operation: tf.Operation, tangents: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """The outputs' tangents: the gradient function, transposed once more.

    With g(u) = J^T u, linear in u, the derivative of <g(u), dx> with respect to u is J dx.

    Args:
        operation: of a graph.
        tangents: of each input, or None for one that does not move.

    Raises:
        ValueError: if TensorFlow cannot transpose the gradient function.
    """
    gradient = gradient_function(operation)
    outputs = operation.outputs
    if gradient is None:
        return [None] * len(outputs)
    cotangents = [tf.zeros_like(output) for output in outputs]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(cotangents)
        pulled = gradient(operation, *cotangents)
        pulled = pulled if isinstance(pulled, (list, tuple)) else [pulled]
        pairs = [
            (back, tangent)
            for back, tangent in zip(pulled, tangents, strict=True)
            if back is not None and tangent is not None
        ]
    if not pairs:
        return [None] * len(outputs)
    backs, directions = zip(*pairs, strict=True)
    check_transposes(cotangents, backs)
    pushed = tape.gradient(list(backs), cotangents, output_gradients=list(directions))
    if not any(map(second_derivative_is_wrong, with_called([operation]))):
        return pushed
    return [None if tangent is None else _only_once(tangent, operation) for tangent in pushed]


def _only_once(tensor: Tensor, operation: tf.Operation) -> Tensor:
    """A gradient that TensorFlow would differentiate to nothing, or wrongly, without a word."""
    return _not_twice(
        tensor,
        "A penalty on input gradients needs second derivatives, and TensorFlow has none, or no "
        f"right one, of {operation.type}. Expected a classifier whose layers have one. "
        f"Received: operation {operation.name!r}",
    )


def once_beside_loops(derivative: Tensor, operations: Sequence[tf.Operation]) -> Tensor:
    """A derivative that TensorFlow's tape took, if its own derivative would be a wrong one.

    Returns:
        the same tensor; where an operation is among them whose second derivative TensorFlow lacks
        or gets wrong, one that raises a ValueError when it is differentiated.
    """
    fault = next(filter(second_derivative_is_wrong, with_called(operations)), None)
    if fault is None:
        return derivative
    return _not_twice(
        derivative,
        "A penalty on input gradients needs second derivatives. TensorFlow's own is missing or "
        f"wrong for {fault.type}, and the package's cannot go around the loop or the "
        "branch that the classifier holds as well. Expected a classifier with one of both: "
        f"recurrent layers have no loop with `unroll=True`. Received: operation {fault.name!r}",
    )


def check_transposes(cotangents: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Raises ValueError unless TensorFlow can transpose the map from cotangents to gradients.

    Some operations it takes for constant without a word, which leaves their part out.

    Args:
        cotangents: tensors of a graph.
        gradients: what is computed of them, linearly.
    """
    between = (
        operation
        for cotangent, gradient in itertools.product(cotangents, gradients)
        for operation in operations_between(cotangent, gradient)
    )
    fault = next(filter(differentiates_to_nothing, between), None)
    if fault is not None:
        raise ValueError(
            "A derivative along a direction is the transpose of a gradient here, and TensorFlow "
            f"has none of {fault.type}. Expected an estimator that takes gradients alone, or a "
            "classifier without that operation; where it is one of resizing or softsign beside a "
            "recurrent layer, that layer with `unroll=True`. "
            f"Received: operation {fault.name!r}"
        )


def _not_twice(tensor: Tensor, reason: str) -> Tensor:
    @tf.custom_gradient
    def identity(tensor: Tensor) -> Tensor:
        def backward(upstream: Tensor) -> Tensor:
            raise ValueError(reason)

        return tf.identity(tensor), backward

    return identity(tensor)
