"""A function of one batch, compiled once by Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


class BatchFunction(keras.Model):
    """Runs a function of a batch as a compiled graph, through `predict_on_batch`.

    It borrows Keras's own compilation, so that no caller needs to know the backend.

    Args:
        function: maps a batch of inputs to a tensor or a dict of tensors.

    Example:
    ```python
    largest = BatchFunction(lambda images: {"largest": ops.max(images)})
    largest.predict_on_batch(images)["largest"]
    ```
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        # A half-precision policy would round the inputs before the function sees them.
        super().__init__(dtype="float32")
        self._function = function
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The function's value."""
        return self._function(inputs)
