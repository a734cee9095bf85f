"""Inputs to try a detector and its artifact on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from keras_lodin.export.scorer import Scorer

# Two sizes, neither of which is the other's multiple: a batch size that was baked in shows.
BATCH_SIZES = (1, 3)
# With side inputs: enough for every way that they lead.
_BATCH_SIZES_WITH_SIDE_INPUTS = (1, 11)


def random_batches(detector: Scorer) -> list[np.ndarray]:
    """Random inputs within the detector's `input_range`.

    Returns:
        float32 arrays, one for each of `BATCH_SIZES` (more samples for a detector with side
        inputs). Free sizes of the input are the smallest of 32, 64, 128 and 256 that the
        classifier runs on, and in the second array others where it runs on others.

    Raises:
        ValueError: if the classifier runs on none of them.
    """
    low, high = detector.judged_input_range.bounds
    rng = np.random.default_rng(0)
    sizes = _BATCH_SIZES_WITH_SIDE_INPUTS if detector.side_inputs else BATCH_SIZES
    return [
        rng.uniform(low, high, (size, *shape)).astype("float32")
        for size, shape in zip(sizes, _runnable_shapes(detector), strict=True)
    ]


def checked_samples(detector: Scorer, sample_inputs: npt.ArrayLike) -> np.ndarray:
    """Inputs of a user's to try as well, float32.

    Raises:
        ValueError: if there are none, or the detector does not take them.
    """
    samples = np.asarray(sample_inputs, "float32")
    if not len(samples):
        raise ValueError("`sample_inputs` must not be empty. Received: an array of no samples")
    detector.check_inputs(samples)
    return samples


def constant_batch(detector: Scorer) -> np.ndarray:
    """Three inputs that are the same everywhere: 0 or the nearest to it, the middle, the end."""
    low, high = detector.judged_input_range.bounds
    shape = _runnable_shapes(detector)[0]
    values = [np.clip(0.0, low, high), (low + high) / 2.0, high]
    return np.stack([np.broadcast_to(value, shape) for value in values]).astype("float32")


def _runnable_shapes(detector: Scorer) -> list[tuple[int, ...]]:
    shape = detector.input_shape_with_batch[1:]
    if None not in shape:
        return [tuple(size or 0 for size in shape)] * len(BATCH_SIZES)
    for free in (32, 64, 128, 256):
        first = tuple(free if size is None else size for size in shape)
        if _runs(detector, first):
            other = tuple(
                free + 5 + axis if size is None else size for axis, size in enumerate(shape)
            )
            return [first, other if _runs(detector, other) else first]
    raise ValueError(
        f"The classifier {detector.classifier.name!r} has free input sizes and runs on none of "
        "32, 64, 128 and 256. Expected one that does, so that the artifact can be checked. "
        f"Received: input shape {detector.input_shape_with_batch}"
    )


def _runs(detector: Scorer, shape: tuple[int, ...]) -> bool:
    try:
        detector.logits_function(np.zeros((1, *shape), "float32"))
    except Exception:  # whatever the classifier raises for a size that it cannot take
        return False
    return True
