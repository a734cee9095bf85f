"""Does an artifact say what the detector says?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from keras_lodin.detectors.detector import Detector

# Two sizes, neither of which is the other's multiple: a batch size that was baked in shows.
BATCH_SIZES = (1, 3)

# A SavedModel runs the same kernels: what remains is the order of sums on several cores.
_RELATIVE_TOLERANCE = 1e-4


def random_batches(detector: Detector) -> list[np.ndarray]:
    """Random inputs within the detector's `input_range` (0 to 1 for one that has none).

    Args:
        detector: the detector.

    Returns:
        float32 arrays, one for each of `BATCH_SIZES`. Free sizes of the input are the smallest
        of 32, 64, 128 and 256 that the classifier runs on.

    Raises:
        ValueError: if the classifier runs on none of them.
    """
    low, high = getattr(detector, "input_range", (0.0, 1.0))
    shape = _runnable_shape(detector)
    rng = np.random.default_rng(0)
    return [rng.uniform(low, high, (size, *shape)).astype("float32") for size in BATCH_SIZES]


def _runnable_shape(detector: Detector) -> tuple[int, ...]:
    shape = detector.input_shape_with_batch[1:]
    if None not in shape:
        return shape
    error: Exception | None = None
    for free in (32, 64, 128, 256):
        sizes = tuple(free if size is None else size for size in shape)
        try:
            detector.logits_function(np.zeros((1, *sizes), "float32"))
        except Exception as failure:  # whatever the classifier raises for too small an input
            error = failure
        else:
            return sizes
    raise ValueError(
        f"The classifier {detector.classifier.name!r} has free input sizes and runs on none of "
        "32, 64, 128 and 256. Expected one that does, so that the artifact can be checked. "
        f"Received: input shape {detector.input_shape_with_batch}"
    ) from error


def require_equal(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> None:
    """Raises ValueError unless two sets of outputs agree to rounding.

    Logits and scores may differ by 1e-4 of their largest absolute value, `is_ood` not at all.

    Args:
        expected: the detector's outputs, numpy arrays by name.
        actual: the artifact's.

    Raises:
        ValueError: if a name is missing or an output differs.
    """
    if set(actual) != set(expected):
        raise ValueError(
            f"The artifact must have the outputs {sorted(expected)}. Received: {sorted(actual)}"
        )
    for name in ("logits", "score"):
        scale = max(float(np.max(np.abs(expected[name]))), np.finfo("float32").tiny)
        difference = float(np.max(np.abs(actual[name] - expected[name]))) / scale
        if not difference <= _RELATIVE_TOLERANCE:
            raise ValueError(
                f"The artifact's {name} differ from the detector's by {difference:.2g} of their "
                "largest value on random inputs; nothing was written. Is there something random "
                "in the classifier at inference? Received: a detector that cannot be exported "
                "faithfully"
            )
    if not np.array_equal(actual["is_ood"], expected["is_ood"]):
        raise ValueError(
            "The artifact's `is_ood` differs from the detector's on random inputs; nothing was "
            "written. Received: a detector that cannot be exported faithfully"
        )
