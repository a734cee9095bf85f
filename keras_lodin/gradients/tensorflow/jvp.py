"""Directional derivatives of a traced graph, operation by operation (forward mode).

A tangent travels with the data: where an operation computes y = f(x), its rule computes
dy = f'(x) dx on the values that the forward pass has already. One such walk gives the derivatives
of ALL logits along one direction, for any number of classes, and is itself differentiable.

TensorFlow has a forward mode of its own, `tf.autodiff.ForwardAccumulator`. It multiplies the
absent tangents of the weights as zeros, which costs each convolution once more.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from keras_lodin.gradients.tensorflow import by_gradient_function
from keras_lodin.gradients.tensorflow.graph_walk import reduced_axes, without_autograph
from keras_lodin.gradients.tensorflow.rules import RULES
from keras_lodin.utils.tensor import Tensor


@without_autograph
def directional_derivative(
    operations: Sequence[tf.Operation], inputs: Tensor, outputs: Tensor, v: Tensor
) -> Tensor | None:
    """`d outputs / d inputs` applied to a direction.

    What is averaged or summed over the whole batch counts as constant: the statistics of a
    BatchNormalization in training mode. A sample's derivative is then that of the sample alone,
    though all samples move at once.

    Args:
        operations: what `operations_between` gave.
        inputs: the tensor that moves.
        outputs: the tensor that follows.
        v: the direction, a tensor of the inputs' shape and dtype.

    Returns:
        a tensor of the outputs' shape, or None if no derivative leads from one to the other.
    """
    tangents = {inputs.ref(): v}
    for operation in operations:
        given = [tangents.get(tensor.ref()) for tensor in operation.inputs]
        if all(tangent is None for tangent in given) or _reduces_the_batch(operation):
            continue
        for output, tangent in zip(operation.outputs, _push(operation, given), strict=True):
            if tangent is not None:
                tangents[output.ref()] = tangent
    return tangents.get(outputs.ref())


def _push(operation: tf.Operation, tangents: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    rule = RULES.get(operation.type)
    pushed = rule.push(operation, tangents) if rule else None
    return by_gradient_function.push(operation, tangents) if pushed is None else pushed


def _reduces_the_batch(operation: tf.Operation) -> bool:
    """Whether an operation is the mean or sum over the batch and all other axes but at most one."""
    if operation.type not in ("Mean", "Sum"):
        return False
    axes, rank = reduced_axes(operation), operation.inputs[0].shape.rank
    return bool(axes and rank and rank > 1 and axes[0] == 0 and len(axes) >= rank - 1)
