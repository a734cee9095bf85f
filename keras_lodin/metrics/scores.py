"""What may be concluded from scores: the one check of them, and the verdict."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lodin.utils.tensor import Tensor


def check_scores(name: str, scores: np.ndarray, first: int = 0) -> None:
    """Raises ValueError unless all scores of a detector, `(batch,)`, are finite.

    `first` is the number of their first example within the data.
    """
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise ValueError(
            f"The scores of detector {name!r} must be finite. Look for NaN and infinite values in "
            "the classifier's weights, then in its logits. "
            f"Received: score={scores[wrong[0]]} for example {first + wrong[0]}"
        )


def verdict(score: Tensor, threshold: Tensor) -> Tensor:
    """Which scores are out-of-distribution: bool, `(batch,)`.

    Those at or below the threshold, and those that are not a number. (Not as `not score >
    threshold`: TensorFlow's graph optimizer makes that `score <= threshold`, and a NaN would
    pass.)
    """
    return ops.logical_or(ops.less_equal(score, threshold), ops.isnan(score))


def promised(tpr: float, calibration_count: int | None, confidence: float | None) -> str:
    """What a threshold promises, in words; a detector of an earlier version has no count."""
    samples = "" if calibration_count is None else f", calibrated on {calibration_count:,} samples"
    sure = "" if confidence is None else f" with a confidence of {100 * confidence:g} %"
    return f"{100 * tpr:g} % of fresh in-distribution data pass{sure}{samples}"
