"""Input gradients on the JAX backend.

The classifier is linearised once: `jax.linearize` runs it and keeps its derivative as a linear
map, which pushes tangents forward and, transposed, pulls cotangents back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import keras
from keras import ops

from keras_lodin.gradients.jax.scopes import InnerScope
from keras_lodin.gradients.no_gradient import no_gradient
from keras_lodin.utils.keras_internals import batch_statistics_through
from keras_lodin.utils.tensor import Tensor


class ForwardPass:
    """See `keras_lodin.gradients.tensorflow.forward_pass.ForwardPass`.

    Where the logits do not depend on the inputs, every derivative is zero.
    """

    def __init__(self, logits_function: Callable[[Tensor], Tensor], inputs: Tensor) -> None:
        self._record(inputs, lambda x: [logits_function(x)])
        self._keep(0)

    @classmethod
    def of_exits(
        cls, exits_function: Callable[[Tensor], Sequence[Tensor]], inputs: Tensor
    ) -> list[ForwardPass]:
        """One pass of a classifier with several exits, as a `ForwardPass` for each exit."""
        first = cls.__new__(cls)
        first._record(inputs, exits_function)
        passes = [first, *(copy.copy(first) for _ in first._outputs[1:])]
        for number, forward_pass in enumerate(passes):
            forward_pass._keep(number)
        return passes

    @classmethod
    def of_names(cls, logits_function: Callable[[Tensor], Tensor], inputs: Tensor) -> ForwardPass:
        """One pass over inputs that are names, tokens for example, which have no gradient."""
        forward_pass = cls.__new__(cls)
        forward_pass.inputs = ops.convert_to_tensor(inputs)
        forward_pass._function = lambda x: [logits_function(x)]
        forward_pass._number = 0
        forward_pass._pull = None
        forward_pass.logits = forward_pass.logits_at(forward_pass.inputs)
        return forward_pass

    def _record(self, inputs: Tensor, function: Callable[[Tensor], Sequence[Tensor]]) -> None:
        inputs = ops.convert_to_tensor(inputs)
        if not keras.backend.is_float_dtype(inputs.dtype):
            inputs = ops.cast(inputs, "float32")
        self.inputs = inputs
        self._function = function
        self._outputs, self._push, scope, results = self._linearized()
        self._pull = jax.linear_transpose(self._push, inputs)
        scope.hand_out(results)

    def _linearized(self) -> tuple[list[Tensor], Callable[[Tensor], list[Tensor]], InnerScope, ...]:
        scope = InnerScope()

        def traced(x: Tensor) -> tuple[list[Tensor], tuple[list[Tensor], list[Tensor]]]:
            with scope:
                outputs = [ops.cast(logits, "float32") for logits in self._function(x)]
            return outputs, scope.results

        outputs, push, results = jax.linearize(traced, self.inputs, has_aux=True)
        return outputs, push, scope, results

    def _keep(self, number: int) -> None:
        """Makes one output of the recorded function the logits of this pass."""
        self._number = number
        self.logits = self._outputs[number]

    def logits_at(self, inputs: Tensor) -> Tensor:
        """Logits of other inputs, by another forward pass. Float32, `(batch, classes)`."""
        return ops.cast(self._function(inputs)[self._number], "float32")

    def input_gradient(self, cotangent: Tensor) -> Tensor:
        """The vector-Jacobian product `sum_j cotangent[b, j] * d logits[b, j] / d inputs[b]`."""
        if self._pull is None:
            raise no_gradient(self.inputs)
        cotangents = [jnp.zeros_like(logits) for logits in self._outputs]
        cotangents[self._number] = cotangent
        (gradient,) = self._pull(cotangents)
        return gradient.astype("float32")

    def input_gradients(self, cotangents: Tensor) -> Tensor:
        """Several vector-Jacobian products at once: `(count, *inputs.shape)`."""
        return jax.vmap(self.input_gradient)(cotangents)

    def directional_derivative(self, direction: Tensor) -> Tensor:
        """The Jacobian-vector product of all logits along a direction: `(batch, classes)`.

        Batch statistics count as constant. That takes another linearisation, from the same state:
        compiled, the two share one forward pass.
        """
        held = self.__dict__.get("_push_held")
        if held is None:
            with batch_statistics_through(jax.lax.stop_gradient):
                held = self._linearized()[1]
            self._push_held = held
        return held(direction.astype(self.inputs.dtype))[self._number]
