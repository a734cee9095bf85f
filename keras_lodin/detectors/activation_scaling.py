"""What SCALE, ASH and AdaSCALE do to features and logits, as pure functions."""

from __future__ import annotations

from keras import ops

from keras_lodin.detectors.percentiles import checked_percentile
from keras_lodin.utils.tensor import Tensor

# Beyond it the exponent of a flat feature vector, at most D / k, passes 80, and float32 its end.
_LARGEST_PERCENTILE = 0.98


def checked_pruning(name: str, value: object) -> float:
    """How much of the features is not kept, a fraction of whole thousandths; 0 is off.

    Raises:
        ValueError: for less than 0, and for more than float32 can scale by.
    """
    percentile = checked_percentile(name, value)
    if percentile > _LARGEST_PERCENTILE:
        raise ValueError(
            f"`{name}` must be at most {_LARGEST_PERCENTILE}: features are scaled by "
            "exp(sum / sum of the largest), whose exponent may be as large as "
            "1 / (1 - percentile), and float32 ends at exp(88). "
            f"Received: {name}={value!r}"
        )
    return percentile


def kept_count(size: int, percentile: float) -> int:
    """k, how many of `size` features are kept: one or more."""
    return max(1, size - round(size * percentile))


def shares_of_largest(features: Tensor, count: int) -> Tensor:
    """1 for each of the `count` largest features of a sample, 0 for the others.

    Features that equal the smallest of them share what places are left: their order says nothing.

    Args:
        features: float32, `(batch, size)`.
        count: 1 or more, at most size.

    Returns:
        float32, `(batch, size)`; each sample's add up to `count`.
    """
    smallest = ops.top_k(features, count)[0][:, -1:]
    above = ops.cast(features > smallest, "float32")
    equal = ops.cast(ops.equal(features, smallest), "float32")
    left = count - ops.sum(above, axis=-1, keepdims=True)
    return above + equal * left / ops.maximum(ops.sum(equal, axis=-1, keepdims=True), 1.0)


def scaling_ratio(features: Tensor, kept_sum: Tensor) -> Tensor:
    """r, the sum of all features over the sum of the largest; 1 where there are none but zeros.

    Args:
        features: float32, `(batch, size)`, not negative.
        kept_sum: float32, `(batch,)`.

    Returns:
        float32, `(batch,)`, 1 or more.
    """
    total = ops.sum(features, axis=-1)
    # Zeros stay zeros whatever they are scaled by. Not a number stays so, in `total`.
    some = kept_sum > 0.0
    return ops.where(some, total, total + 1.0) / ops.where(some, kept_sum, 1.0)


def scaled_logits(logits: Tensor, factor: Tensor, bias: Tensor) -> Tensor:
    """The logits of features that are multiplied by a factor: `factor (z - b) + b`.

    The last layer is linear: no other product with its weights, and no feature that half precision
    could not hold.

    Args:
        logits: z, float32, `(batch, classes)`.
        factor: float32, `(batch,)`.
        bias: b, the logits of no features, float32, `(1, classes)`.
    """
    return factor[:, None] * (logits - bias) + bias
