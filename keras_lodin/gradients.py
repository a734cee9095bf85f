"""Every gradient with respect to a classifier's INPUTS is taken here, and nowhere else.

The rest of the package asks for a vector-Jacobian product of the logits and says with which
cotangent. Softmax, logarithm and maximum are never differentiated: their derivatives are short
closed forms (`quotient_forms.py`, `detectors/odin.py`), exact where float32 would underflow, and
an exported graph stays free of their gradient operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class ForwardPass:
    """One pass of a classifier over a batch, from which input gradients can still be taken.

    Detectors that watch the same classifier share one: the pass is paid once, and what a
    detector adds (ODIN: one backward and one more forward pass) is paid by that detector alone.

    The gradient for sample `b` is that of the SUM of the batch's terms, never of their mean, so
    that it does not depend on the batch size. In training mode BatchNormalization couples the
    samples of a batch; the gradient then includes a sample's influence on the others.

    Args:
        logits_function: maps inputs to logits of shape `(batch, classes)`.
        inputs: tensor of shape `(batch, ...)`. Integers are cast to float32, because an integer
            has no gradient.

    Attributes:
        inputs: float tensor of shape `(batch, ...)`.
        logits: float32 tensor of shape `(batch, classes)`.
    """

    def __init__(self, logits_function: Callable[[Any], Any], inputs: Any) -> None:
        inputs = tf.convert_to_tensor(inputs)
        if not inputs.dtype.is_floating:
            inputs = tf.cast(inputs, tf.float32)
        self.inputs = inputs
        self._logits_function = logits_function
        # Only the inputs are watched: an outer tape of the caller sees the weights.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            self.logits = tf.cast(logits_function(inputs), tf.float32)
        self._tape = tape

    def logits_at(self, inputs: Any) -> Any:
        """Logits of other inputs, by another forward pass. Float32, `(batch, classes)`."""
        return tf.cast(self._logits_function(inputs), tf.float32)

    def input_gradient(self, cotangent: Any) -> Any:
        """The vector-Jacobian product `sum_j cotangent[b, j] * d logits[b, j] / d inputs[b]`.

        Args:
            cotangent: float32 tensor of shape `(batch, classes)`, taken as constant.

        Returns:
            float32 tensor of the inputs' shape.

        Raises:
            ValueError: if the logits do not depend on the inputs differentiably.
        """
        gradient = self._tape.gradient(self.logits, self.inputs, output_gradients=cotangent)
        if gradient is None:
            raise ValueError(
                "The classifier's logits have no gradient with respect to its inputs: somewhere "
                "on the way they are cast to integers, rounded or detached. Expected a classifier "
                "that is differentiable from its input to its logits. "
                f"Received: inputs of shape {self.inputs.shape} and dtype {self.inputs.dtype.name}"
            )
        return tf.cast(gradient, tf.float32)

    def input_gradients(self, cotangents: Any) -> Any:
        """Several vector-Jacobian products at once: one traced backward pass, run vectorised.

        Tracing time does not grow with their number, and the backward convolutions of all
        cotangents run as one large convolution.

        Args:
            cotangents: float32 tensor of shape `(count, batch, classes)`, taken as constant.

        Returns:
            float32 tensor of shape `(count, *inputs.shape)`.
        """
        return tf.vectorized_map(self.input_gradient, cotangents)
