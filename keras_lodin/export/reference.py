"""What an artifact is compared with: the detector itself, run by TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import tensorflow as tf
from keras import ops

from keras_lodin.export.parity import Outputs, Reference
from keras_lodin.export.rounding_noise import with_rounding_noise
from keras_lodin.export.scorer import Scorer
from keras_lodin.export.tracing import Function
from keras_lodin.utils.tensor import Tensor

# A noise that decides between two classes shows in half of the draws.
_DRAWS = 16


class TensorFlowReference:
    """A detector's outputs for a batch, and what they are but for rounding errors.

    Args:
        detector: the detector.
        function: what `serving_function` gave of it.
        run: None, or what runs the function in the place of its own trace.
    """

    def __init__(
        self,
        detector: Scorer,
        function: Function,
        run: Callable[..., dict[str, Tensor]] | None = None,
    ) -> None:
        self._detector = detector
        self._function = function
        self._runs = run or function
        self._known: list[tuple[np.ndarray, Outputs]] = []
        self._noisy: Callable[..., dict[str, Tensor]] | Literal[False] | None = None

    def __call__(self, batch: np.ndarray) -> Outputs:
        """The outputs, numpy arrays by name.

        Raises:
            ValueError: if TensorFlow fails on the batch.
        """
        return self._run(self._runs, batch)

    def known(self, batch: np.ndarray) -> Outputs:
        """The outputs, computed once for a batch, the array itself, and kept."""
        for given, outputs in self._known:
            if given is batch:
                return outputs
        self._known.append((batch, self(batch)))
        return self._known[-1][1]

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """The detector's p-values of scores."""
        return ops.convert_to_numpy(self._detector.p_value(scores))

    def noisy(self, batch: np.ndarray) -> Iterator[Outputs]:
        """The outputs several times, with other rounding errors each time.

        None at all for a classifier that holds a loop or a branch, whose inside is out of reach.
        """
        if self._noisy is None:
            self._noisy = with_rounding_noise(self._function) or False
        if self._noisy:
            for _ in range(_DRAWS):
                yield self._run(self._noisy, batch)

    def without_gradient(self) -> Reference:
        """The same outputs but `gradient`, by the same trace."""
        return _WithoutGradient(self)

    def _run(self, function: Callable[..., dict[str, Tensor]], batch: np.ndarray) -> Outputs:
        side = map(tf.constant, self._detector.example_side_values(len(batch)).values())
        try:
            outputs = function(tf.constant(batch), *side, tf.constant(self._detector.threshold))
        except tf.errors.OpError as error:
            raise ValueError(
                "TensorFlow cannot compute the detector on a batch of its input's shape; nothing "
                "was written. Expected a detector that `predict` scores. "
                f"Received: shape {batch.shape}, {type(error).__name__}: {error.message}"
            ) from error
        return {name: value.numpy() for name, value in outputs.items()}


class _WithoutGradient:
    def __init__(self, whole: Reference) -> None:
        self._whole = whole
        self.p_values = whole.p_values

    def __call__(self, batch: np.ndarray) -> Outputs:
        return _no_gradient(self._whole(batch))

    def known(self, batch: np.ndarray) -> Outputs:
        return _no_gradient(self._whole.known(batch))

    def noisy(self, batch: np.ndarray) -> Iterator[Outputs]:
        return map(_no_gradient, self._whole.noisy(batch))


def _no_gradient(outputs: Outputs) -> Outputs:
    return {name: value for name, value in outputs.items() if name != "gradient"}
