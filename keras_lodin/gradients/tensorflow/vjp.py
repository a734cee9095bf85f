"""Input gradients of a traced graph for many cotangents at once, operation by operation.

A cotangent travels against the data: where an operation computes y = f(x), its rule turns du, the
cotangent of y, into that of x. Here every cotangent has one more axis in front, for the P
gradients wanted. Convolutions take it as part of the batch, and elementwise rules broadcast what
the forward pass left behind. `tf.vectorized_map` over `tape.gradient` repeats it P times instead,
and forms the zeros that are the second derivative of a ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import tensorflow as tf

from keras_lodin.gradients.tensorflow import by_gradient_function
from keras_lodin.gradients.tensorflow.graph_walk import without_autograph
from keras_lodin.gradients.tensorflow.normalization import MOST_COTANGENTS, normalizations
from keras_lodin.gradients.tensorflow.rules import RULES, Spread
from keras_lodin.utils.tensor import Tensor


@without_autograph
def vectorized_gradient(
    operations: Sequence[tf.Operation], inputs: Tensor, outputs: Tensor, cotangents: Tensor
) -> Tensor | None:
    """Vector-Jacobian products of many cotangents.

    Args:
        operations: what `operations_between` gave.
        inputs: the tensor to differentiate by.
        outputs: the tensor to differentiate.
        cotangents: tensor of shape `(count, *outputs.shape)`.

    Returns:
        a tensor of shape `(count, *inputs.shape)`, or None if no derivative leads there.
    """
    reached = {inputs.ref()}
    for operation in operations:
        reached.update(output.ref() for output in operation.outputs)
    count = cotangents.shape[0]
    in_one_piece = normalizations(operations) if (count or math.inf) <= MOST_COTANGENTS else {}
    arrived: dict[Hashable, list[Tensor | Spread | list[Tensor]]] = {outputs.ref(): [cotangents]}
    for operation in reversed(operations):
        came = [arrived.pop(output.ref(), []) for output in operation.outputs]
        if not any(came):
            continue
        normalization = in_one_piece.get(operation)
        if normalization is not None:
            each = _one_by_one(operation.outputs[0], came[0], count)
            pulled_apart = normalization.pull(each)
            arrived.setdefault(normalization.source.ref(), []).append(pulled_apart)
            continue
        upstream = [
            _added(output, parts) for output, parts in zip(operation.outputs, came, strict=True)
        ]
        wanted = [tensor.ref() in reached for tensor in operation.inputs]
        pulled = _pull(operation, upstream, wanted)
        for tensor, cotangent, want in zip(operation.inputs, pulled, wanted, strict=True):
            if want and cotangent is not None:
                arrived.setdefault(tensor.ref(), []).append(cotangent)
    return _added(inputs, arrived.get(inputs.ref(), []))


def _one_by_one(
    tensor: Tensor, cotangents: Sequence[Tensor | Spread | list[Tensor]], count: int | None
) -> list[Tensor]:
    """The sum of a tensor's cotangents, a tensor for each of `count`."""
    first = cotangents[0]
    if len(cotangents) == 1 and isinstance(first, list):
        return first
    return tf.unstack(_added(tensor, cotangents), count)


def _added(tensor: Tensor, cotangents: Sequence[Tensor | Spread | list[Tensor]]) -> Tensor | None:
    """The sum of a tensor's cotangents, or None if there are none."""
    together = [tf.stack(part) if isinstance(part, list) else part for part in cotangents]
    whole = [cotangent for cotangent in together if not isinstance(cotangent, Spread)]
    spread = [part.cotangent for part in cotangents if isinstance(part, Spread)]
    if not cotangents:
        return None
    if not whole:
        first, *spread = spread
        shape = tf.concat([tf.shape(first)[:1], tf.shape(tensor)], 0)
        whole = [tf.broadcast_to(first, shape)]
    total = whole[0] if len(whole) == 1 else tf.add_n(whole)
    for part in spread:
        total += part
    return tf.ensure_shape(total, (total.shape[0], *tensor.shape))


def _pull(
    operation: tf.Operation, upstream: Sequence[Tensor], wanted: Sequence[bool]
) -> Sequence[Tensor | Spread | None]:
    rule = RULES.get(operation.type)
    pulled = rule.pull(operation, upstream[0], wanted) if rule else None
    if pulled is None:
        return by_gradient_function.pull(operation, upstream, wanted)
    return pulled
