"""Every gradient with respect to a classifier's INPUTS is taken here, and nowhere else.

The rest of the package asks for a vector-Jacobian product of the logits and says with which
cotangent. Softmax, logarithm and maximum are never differentiated: their derivatives are short
closed forms (`quotient/forms.py`, `detectors/odin.py`), exact where float32 would underflow, and
an exported graph stays free of their gradient operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_lodin.gradients.no_gradient import no_gradient
from keras_lodin.gradients.recorded_pass import RecordedPass
from keras_lodin.gradients.tensorflow.by_gradient_function import (
    check_transposes,
    once_beside_loops,
)
from keras_lodin.gradients.tensorflow.graph_walk import LOOPS, operations_between, with_called
from keras_lodin.gradients.tensorflow.jvp import directional_derivative
from keras_lodin.gradients.tensorflow.vjp import vectorized_gradient
from keras_lodin.utils.tensor import Tensor


class ForwardPass(RecordedPass):
    """See `RecordedPass`; here is what a derivative promises on every backend."""

    def _record(self, inputs: Tensor, function: Callable[[Tensor], Sequence[Tensor]]) -> None:
        inputs = tf.convert_to_tensor(inputs)
        if not inputs.dtype.is_floating:
            inputs = tf.cast(inputs, tf.float32)
        # A tensor of this pass alone: `directional_derivative` follows it through the graph.
        self.inputs = inputs = tf.identity(inputs)
        self._function = function
        # Only the inputs are watched: an outer tape of the caller sees the weights.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            self._outputs = [tf.cast(logits, tf.float32) for logits in function(inputs)]
        self._tape = tape

    def _keep(self, number: int) -> None:
        """Makes one output of the recorded function the logits of this pass."""
        super()._keep(number)
        # None in eager mode, where there is no graph, and beside loops, which no walk can follow.
        self._operations = self._around_loops = None
        if not tf.executing_eagerly():
            operations = operations_between(self.inputs, self.logits)
            if any(operation.type in LOOPS for operation in with_called(operations)):
                self._around_loops = operations
            else:
                self._operations = operations

    def input_gradient(self, cotangent: Tensor) -> Tensor:
        """The vector-Jacobian product `sum_j cotangent[b, j] * d logits[b, j] / d inputs[b]`.

        Args:
            cotangent: float32 tensor of shape `(batch, classes)`, taken as constant.

        Returns:
            float32 tensor of the inputs' shape.

        Raises:
            ValueError: if the logits do not depend on the inputs differentiably.
        """
        self._refuse_names()
        gradient = self._tape.gradient(self.logits, self.inputs, output_gradients=cotangent)
        return self._checked(gradient)

    def _checked(self, derivative: Tensor) -> Tensor:
        if derivative is None:
            raise no_gradient(self.inputs)
        return tf.cast(derivative, tf.float32)

    def input_gradients(self, cotangents: Tensor) -> Tensor:
        """Several vector-Jacobian products at once: one traced backward pass, run vectorised.

        Tracing time does not grow with their number, and the backward convolutions of all
        cotangents run as one large convolution.

        Args:
            cotangents: float32 tensor of shape `(count, batch, classes)`, taken as constant.

        Returns:
            float32 tensor of shape `(count, *inputs.shape)`.
        """
        self._refuse_names()
        if self._operations is None:
            gradients = tf.vectorized_map(self.input_gradient, cotangents)
            return once_beside_loops(gradients, self._around_loops or ())
        gradients = vectorized_gradient(self._operations, self.inputs, self.logits, cotangents)
        return self._checked(gradients)

    def read_by_gradients(self, shape: Sequence[int | None]) -> list[Tensor]:
        """The floating-point tensors of this pass that `input_gradients` reads.

        Args:
            shape: shape of the cotangents.
        """
        specification = tf.TensorSpec(shape, tf.float32)
        trace = tf.function(self.input_gradients).get_concrete_function(specification)
        return [tensor for tensor in trace.captured_inputs if tensor.dtype.is_floating]

    def directional_derivative(self, direction: Tensor) -> Tensor:
        """The Jacobian-vector product `sum_i d logits[b, j] / d inputs[b, i] * direction[b, i]`.

        One pass in forward mode serves all classes. The forward pass is not run again: dropout
        masks are the same, and BatchNormalization is not updated twice. Its batch statistics
        count as constant, except in eager mode and where the network holds a loop: there they
        move with the inputs.

        Args:
            direction: float32 tensor of the inputs' shape.

        Returns:
            float32 tensor of shape `(batch, classes)`.

        Raises:
            ValueError: if the logits do not depend on the inputs differentiably, or TensorFlow
                cannot transpose what it would have to.
        """
        self._refuse_names()
        if self._operations is None:
            derivative = self._transposed_twice(direction)
            return once_beside_loops(derivative, self._around_loops or ())
        direction = tf.cast(direction, self.inputs.dtype)
        return self._checked(
            directional_derivative(self._operations, self.inputs, self.logits, direction)
        )

    def _transposed_twice(self, direction: Tensor) -> Tensor:
        """The directional derivative as the transpose of the input gradient, which is slower.

        The input gradient g is linear in its cotangent u; d <g(u), v> / du is the product J v.
        """
        cotangent = tf.zeros_like(self.logits)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(cotangent)
            gradient = self.input_gradient(cotangent)
        if self._around_loops is not None:
            check_transposes([cotangent], [gradient])
        return tape.gradient(gradient, cotangent, output_gradients=tf.cast(direction, tf.float32))
