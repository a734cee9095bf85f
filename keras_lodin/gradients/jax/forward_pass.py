"""Input gradients on the JAX backend.

The classifier is linearised once: `jax.linearize` runs it and keeps its derivative as a linear
map, which pushes tangents forward and, transposed, pulls cotangents back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import keras
from keras import ops

from keras_lodin.gradients.jax.scopes import InnerScope, Results
from keras_lodin.gradients.recorded_pass import RecordedPass
from keras_lodin.utils.keras_internals import batch_statistics_through
from keras_lodin.utils.tensor import Tensor

_Push = Callable[[Tensor], list[Tensor]]


class ForwardPass(RecordedPass):
    """See `keras_lodin.gradients.tensorflow.forward_pass.ForwardPass`.

    Where the logits do not depend on the inputs, every derivative is zero.
    """

    def _record(self, inputs: Tensor, function: Callable[[Tensor], Sequence[Tensor]]) -> None:
        inputs = ops.convert_to_tensor(inputs)
        if not keras.backend.is_float_dtype(inputs.dtype):
            inputs = ops.cast(inputs, "float32")
        self.inputs = inputs
        self._function = function
        scope = InnerScope()
        self._outputs, self._push, results = self._linearized(scope)
        self._pull = jax.linear_transpose(self._push, inputs)
        self._before = scope.before
        scope.hand_out(results)

    def _linearized(self, scope: InnerScope) -> tuple[list[Tensor], _Push, Results]:
        def traced(x: Tensor) -> tuple[list[Tensor], Results]:
            with scope:
                outputs = [ops.cast(logits, "float32") for logits in self._function(x)]
            return outputs, scope.results

        return jax.linearize(traced, self.inputs, has_aux=True)

    def input_gradient(self, cotangent: Tensor) -> Tensor:
        """The vector-Jacobian product `sum_j cotangent[b, j] * d logits[b, j] / d inputs[b]`."""
        self._refuse_names()
        cotangents = [jnp.zeros_like(logits) for logits in self._outputs]
        cotangents[self._number] = cotangent
        (gradient,) = self._pull(cotangents)
        return gradient.astype("float32")

    def input_gradients(self, cotangents: Tensor) -> Tensor:
        """Several vector-Jacobian products at once: `(count, *inputs.shape)`."""
        return jax.vmap(self.input_gradient)(cotangents)

    def directional_derivative(self, direction: Tensor) -> Tensor:
        """The Jacobian-vector product of all logits along a direction: `(batch, classes)`.

        Batch statistics count as constant, except within a loop: there they move with the inputs.
        """
        self._refuse_names()
        if "_push_held" not in self.__dict__:
            self._push_held = self._holding_statistics() or self._push
        return self._push_held(direction.astype(self.inputs.dtype))[self._number]

    def _holding_statistics(self) -> _Push | None:
        """The derivative with the statistics of the batch as constants; None if there are none.

        That takes another pass for what they are and another linearisation, from the state that
        the first had: compiled, they share the work. No `stop_gradient`, which would hold the
        statistics for the derivative by the weights as well.
        """
        statistics: list[Tensor] = []

        def keeping(one: Tensor) -> Tensor:
            statistics.append(one)
            return one

        with InnerScope(self._before), batch_statistics_through(keeping):
            self._function(self.inputs)
        held = iter(statistics)
        try:
            with batch_statistics_through(lambda one: next(held)):
                return self._linearized(InnerScope(self._before))[1] if statistics else None
        except jax.errors.UnexpectedTracerError:  # what a loop computes stays in it
            return None
