"""The one TensorFlow function that every artifact holds."""

from __future__ import annotations

import tensorflow as tf

from keras_lodin.export.outputs import input_name, outputs
from keras_lodin.export.scorer import Scorer
from keras_lodin.export.tracing import Function
from keras_lodin.utils.tensor import Tensor


def serving_function(
    detector: Scorer, *, channels_first: bool = False, with_gradient: bool = False
) -> Function:
    """A detector as a `tf.function` of a float32 batch and a float32 scalar `threshold`.

    Between them come the detector's `side_inputs`, if it has any, float32 of shape `(batch,)`.

    Args:
        detector: the detector.
        channels_first: whether the function's batch has its channels before its spatial axes.
        with_gradient: whether to return the input gradient too, as `gradient`, for a detector
            that takes one. For checking.

    Returns:
        a `tf.function` with an input signature. The input keeps the classifier's shape, with free
        sizes where the classifier has them. It returns `logits`, `score`, `is_ood` and
        `p_value`.
    """
    shape = list(detector.input_shape_with_batch)
    rank = len(shape)
    if channels_first:
        shape = [shape[0], shape[-1], *shape[1:-1]]
    signature = [
        tf.TensorSpec(shape, tf.float32, name=input_name(detector)),
        *(tf.TensorSpec((None,), tf.float32, name=name) for name in detector.side_inputs),
        tf.TensorSpec((), tf.float32, name="threshold"),
    ]

    @tf.function(input_signature=signature, autograph=False)
    def serve(inputs: Tensor, *others: Tensor) -> dict[str, Tensor]:
        *side_values, threshold = others
        if channels_first:
            inputs = tf.transpose(inputs, [0, *range(2, rank), 1])
        side = dict(zip(detector.side_inputs, side_values, strict=True))
        return outputs(detector, inputs, side, threshold, with_gradient=with_gradient)

    return serve


def with_threshold(serve: Function, threshold: float) -> Function:
    """What `serving_function` gives, with a threshold of its own.

    A call, not a copy: the classifier's graph is in an artifact once.
    """

    @tf.function(input_signature=serve.input_signature[:-1], autograph=False)
    def serving_default(*inputs: Tensor) -> dict[str, Tensor]:
        return serve(*inputs, tf.constant(threshold))

    return serving_default
