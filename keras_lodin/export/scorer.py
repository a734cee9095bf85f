"""What an export reads of a detector."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from keras_lodin.data.value_range import InputRange
from keras_lodin.utils.tensor import Tensor


class Pass(Protocol):
    """What is read of a forward pass: see `keras_lodin.gradients.ForwardPass`."""

    logits: Tensor

    def input_gradient(self, cotangent: Tensor) -> Tensor:
        """The vector-Jacobian product of the logits."""


@runtime_checkable
class Scorer(Protocol):
    """A classifier with a score, a threshold and a promise: what `keras_lodin.Detector` is.

    See there for each of them. An export knows no class of detectors, so that a detector can
    export itself.
    """

    classifier: Any
    logits_function: Callable[[Tensor], Tensor]
    num_classes: int
    class_names: tuple[str, ...] | None
    input_shape_with_batch: tuple[int | None, ...]
    side_inputs: tuple[str, ...]

    @property
    def threshold(self) -> float:
        """Scores at or below this are out-of-distribution."""

    @property
    def calibrated(self) -> bool:
        """Whether there is a threshold."""

    @property
    def tpr(self) -> float | None:
        """What the threshold promises."""

    @property
    def calibration_count(self) -> int | None:
        """How many samples the promise was made from."""

    @property
    def confidence(self) -> float | None:
        """With what confidence, or None for on average."""

    @property
    def p_value_count(self) -> int | None:
        """How many calibration scores p-values are computed from."""

    @property
    def judged_input_range(self) -> InputRange:
        """The range of the inputs, and how it is known."""

    def config_without_classifier(self) -> dict[str, Any]:
        """Its configuration without the classifier."""

    def forward_pass(self, inputs: Tensor, **side_values: Tensor) -> Pass:
        """One pass of the classifier over a batch."""

    def score(self, forward_pass: Any) -> Tensor:
        """The score of each sample of the batch."""

    def p_value(self, score: Tensor) -> Tensor:
        """The p-value of each score."""

    def example_side_values(self, count: int) -> dict[str, np.ndarray]:
        """Values of `side_inputs` to try."""

    def check_inputs(self, inputs: Tensor) -> None:
        """Raises ValueError for a batch that cannot be scored truthfully."""

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Writes a `.keras` file."""

    def predict_on_batch(self, x: Tensor) -> dict[str, np.ndarray]:
        """Logits, score, verdict and p-value of a batch."""
