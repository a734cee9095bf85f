"""What detectors with statistics share: `adapt` before they score."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from keras_lodin.detectors.detector import Detector
from keras_lodin.gradients import backend
from keras_lodin.utils.tensor import Tensor


class AdaptiveDetector(Detector):
    """Base class of detectors that need statistics of in-distribution data before they score.

    `adapt` computes them, in one pass and in constant memory, and keeps them as weights: they are
    saved and exported with the detector. Before it, the detector refuses to score. Adapting again
    starts from nothing, and forgets threshold and p-values, which belonged to other scores.

    A subclass creates its statistics in `build`, computes and assigns them in `_adapt`. Most take
    them of features and logits alone, and derive from `StatisticsDetector`.
    """

    needs_statistics = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the note of whether there are statistics."""
        self._adapted = self._add_state("adapted")
        super().build(input_shape)

    @property
    def adapted(self) -> bool:
        """Whether `adapt` has been called."""
        value = backend.eager_value(self._adapted)
        # None: within `predict`, which has looked before.
        return value is None or bool(value)

    def adapt(
        self, x: object, y: object = None, *, batch_size: int = 128, verbose: int | str = "auto"
    ) -> None:
        """Computes the statistics that the score needs.

        Never give data that will be tested on.

        Args:
            x: in-distribution inputs: an array, or data that yields `(x, y)`: a tuple, a
                `tf.data.Dataset`, a `keras.utils.PyDataset` or a `keras_lodin.data.Source`.
            y: labels, integers of shape `(samples,)`, when `x` is an array.
            batch_size: samples per batch, for data that is not batched already.
            verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

        Raises:
            ValueError: for empty data, inputs that are not finite or of the wrong shape, and
                labels that are missing or out of range where the statistics need them. The
                statistics there were before stay.
        """
        self._adapt(x if y is None else (x, y), batch_size, verbose)
        self._now_adapted()

    def _now_adapted(self) -> None:
        self._adapted.assign(1.0)
        self.forget_calibration()

    def check_before_adapting(self, inputs: Tensor) -> None:
        """Raises ValueError for inputs that no statistics can be taken of."""
        super().check_inputs(inputs)

    @abc.abstractmethod
    def _adapt(self, data: object, batch_size: int, verbose: int | str) -> None:
        """Goes through the data once, and assigns the statistics at the end."""

    def forward_pass(self, inputs: Tensor, **side_values: Tensor) -> Any:
        """See `Detector.forward_pass`; refuses without statistics."""
        self._check_adapted()
        return super().forward_pass(inputs, **side_values)

    def predict(self, x: object, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """See `Detector.predict`; refuses without statistics."""
        self._check_adapted()
        return super().predict(x, *args, **kwargs)

    def check_inputs(self, inputs: Tensor) -> None:
        """Raises ValueError for inputs that cannot be scored, or without statistics."""
        self._check_adapted()
        super().check_inputs(inputs)

    def _check_adapted(self) -> None:
        if not self.adapted:
            raise ValueError(
                f"{type(self).__name__} needs statistics of in-distribution data before it scores: "
                "call `adapt(x, y)` with training data first. "
                f"Received: {self.name!r}, which has none"
            )
