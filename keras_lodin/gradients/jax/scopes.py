"""Keras's variables inside of JAX's transformations."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_lodin.utils.keras_internals import get_stateless_scope
from keras_lodin.utils.tensor import Tensor

# What was assigned, and the losses that layers added.
Results = tuple[list[Tensor], list[Tensor]]


class InnerScope(keras.StatelessScope):
    """A scope inside of the present one, for a function that JAX transforms.

    What is assigned inside must leave the function as one of its results, or JAX calls it a leak.
    It is kept here until `hand_out` gives it to the scope around, or to the variables themselves.

    Args:
        values: pairs of variables and the values to begin with; others have those around.

    """

    def __init__(self, values: Sequence[tuple[keras.Variable, Tensor]] = ()) -> None:
        outer = self._outer = get_stateless_scope()
        super().__init__(values, collect_losses=outer is not None and outer.collect_losses)
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
    def before(self) -> list[tuple[keras.Variable, Tensor]]:
        """The variables that were assigned, with the values that they have around, until then."""
        outer = self._outer or keras.StatelessScope()
        pairs = ((one, outer.get_current_value(one)) for one in self.assigned)
        return [(one, one.value if value is None else value) for one, value in pairs]

    @property
    def results(self) -> Results:
        """What was assigned and added, to be results of the function."""
        assigned = [super(InnerScope, self).get_current_value(one) for one in self.assigned]
        return assigned, list(self.losses)

    def hand_out(self, results: Results) -> None:
        """Assigns and adds what left the function."""
        values, losses = results
        for variable, value in zip(self.assigned, values, strict=True):
            variable.assign(value)
        if self._outer is not None:
            self._outer.losses.extend(losses)
