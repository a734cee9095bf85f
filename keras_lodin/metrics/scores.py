"""What may be concluded from scores: the checks of them, and the verdict."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_lodin.utils.late_keras import ops
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


def checked_scores(scores: ArrayLike, name: str, nan: bool = False) -> NDArray[np.floating]:
    """The scores, checked: float32 as they are, others as float64.

    Args:
        scores: as given.
        name: of the argument, for messages.
        nan: whether they may hold NaN.
    """
    try:
        if np.iscomplexobj(scores):  # of which numpy would take the real part
            raise TypeError
        array = np.asarray(scores)
        if array.dtype != np.float32:
            array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must be an array of numbers, as `detector.predict(x)['score']`. "
            f"Received: {name} of type {type(scores).__name__}"
        ) from None
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"`{name}` must hold one score per sample and at least one sample, shape (n,). "
            f"Received: {name} of shape {array.shape}"
        )
    finite = ~np.isinf(array) if nan else np.isfinite(array)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(
            f"`{name}` must be finite numbers. Received: {name}[{first}]={array[first]}, and "
            f"{array.size - int(finite.sum())} of {array.size} are NaN or infinite"
        )
    return array
