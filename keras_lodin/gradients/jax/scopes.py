"""Keras's variables inside of JAX's transformations."""

from __future__ import annotations

import keras

from keras_lodin.utils.keras_internals import get_stateless_scope
from keras_lodin.utils.tensor import Tensor


class InnerScope(keras.StatelessScope):
    """A scope inside of the present one, for a function that JAX transforms.

    What is assigned inside must leave the function as one of its results, or JAX calls it a leak.
    It is kept here until `hand_out` gives it to the scope around, or to the variables themselves.

    """

    def __init__(self) -> None:
        outer = self._outer = get_stateless_scope()
        super().__init__(collect_losses=outer is not None and outer.collect_losses)
        self._read: dict[int, keras.Variable] = {}
        self._assigned: dict[int, keras.Variable] = {}

    def get_current_value(self, variable: keras.Variable) -> Tensor | None:
        """The value that a variable has in this scope, or None for its own."""
        self._read[id(variable)] = variable
        value = super().get_current_value(variable)
        if value is None and self._outer is not None:
            value = self._outer.get_current_value(variable)
        return value

    def add_update(self, update: tuple[keras.Variable, Tensor]) -> None:
        """Takes in an assignment."""
        self._assigned[id(update[0])] = update[0]
        super().add_update(update)

    @property
    def read(self) -> list[keras.Variable]:
        """The variables whose values were asked for."""
        return list(self._read.values())

    @property
    def assigned(self) -> list[keras.Variable]:
        """The variables that were assigned."""
        return list(self._assigned.values())

    @property
    def results(self) -> tuple[list[Tensor], list[Tensor]]:
        """What was assigned, and the losses that layers added: results of the function."""
        return [super(InnerScope, self).get_current_value(v) for v in self.assigned], [*self.losses]

    def hand_out(self, results: tuple[list[Tensor], list[Tensor]]) -> None:
        """Assigns and adds what left the function."""
        values, losses = results
        for variable, value in zip(self.assigned, values, strict=True):
            variable.assign(value)
        if self._outer is not None:
            self._outer.losses.extend(losses)
