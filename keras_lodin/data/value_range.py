"""The range of a classifier's input values: a value that says how it is known, and its checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from keras_lodin.utils.late_keras import ops
from keras_lodin.utils.tensor import Tensor

# The lowest and the highest value: two numbers, or two arrays with one for each feature.
Bounds: TypeAlias = tuple[float | np.ndarray, float | np.ndarray]

# Where a range is known from ...
GIVEN = "given"
CLASSIFIER = "classifier"
DATA = "data"
# ... or that it is not.
ASSUMED = "assumed"
UNKNOWN = "unknown"
_ORIGINS = (GIVEN, CLASSIFIER, DATA, ASSUMED, UNKNOWN)

# Ranges that images come in: data within one of them are of that range, and not of their own.
CONVENTIONS = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
# Resizing and augmentation may overshoot by a rounding error.
SLACK = 1e-3


@dataclass(frozen=True, eq=False)
class InputRange:
    """The lowest and the highest value of a classifier's inputs, and how they are known.

    Args:
        low: a number, or a float32 array with one for each feature, of a shape that broadcasts
            against one input.
        high: so too.
        origin: "given" by the user or by a file; "classifier", shown by its first layers; "data",
            read off what `calibrate`, `tune` or `adapt` saw; or, where the range is not known,
            "assumed" (nothing speaks against it) and "unknown" (something does, and nothing says
            what it is).

    Example:
    ```python
    InputRange(0.0, 255.0, "classifier").known    # True
    ```
    """

    low: float | np.ndarray
    high: float | np.ndarray
    origin: str

    def __post_init__(self) -> None:
        if self.origin not in _ORIGINS:
            raise ValueError(
                f"`origin` must be one of {', '.join(_ORIGINS)}. Received: origin={self.origin!r}"
            )

    @property
    def bounds(self) -> Bounds:
        """`(low, high)`."""
        return self.low, self.high

    @property
    def known(self) -> bool:
        """Whether something shows the range."""
        return self.origin not in (ASSUMED, UNKNOWN)

    @property
    def per_feature(self) -> bool:
        """Whether features have ranges of their own."""
        return isinstance(self.low, np.ndarray)

    @property
    def is_limit(self) -> bool:
        """Whether inputs outside are wrong.

        A range that was read off some data, or one for each feature of a table, is a measure of
        the features' units, and other data lie outside of it here and there.
        """
        return not self.per_feature and (self.origin != DATA or self.bounds in CONVENTIONS)

    @property
    def assumption(self) -> str | None:
        """The line for a person that says what was only assumed; None where the range is known."""
        return None if self.known else f"assumed: inputs {self}; --input-range changes it"

    def to_json(self) -> list[float | list[float]]:
        """`[low, high]`, as JSON has it."""
        return [
            # As a person would write the float32 numbers.
            bound.astype(str).astype("float64").tolist() if isinstance(bound, np.ndarray) else bound
            for bound in self.bounds
        ]

    def __str__(self) -> str:
        if self.per_feature:
            return "of each feature's own"
        return f"from {self.low:g} to {self.high:g}"


def checked_input_range(
    input_range: Iterable[ArrayLike], shape: Sequence[int | None] | None = None
) -> Bounds:
    """The range as two floats, or as two float32 arrays of one shape.

    Args:
        input_range: `(lo, hi)`: numbers, or arrays with one for each feature.
        shape: shape of one input, which arrays must broadcast against; None where it is not known.

    Raises:
        ValueError: unless both are finite, and lo < hi (of arrays nowhere lo > hi, and somewhere
            lo < hi: a feature may be constant).
    """
    try:
        low, high = np.broadcast_arrays(*map(_numbers, input_range))
    except (TypeError, ValueError):
        low, high = np.array(np.nan), np.array(np.nan)
    if np.ndim(low) == 0:
        if not -np.inf < low < high < np.inf:
            raise ValueError(
                "`input_range` must be two finite numbers, the lowest and the highest input value, "
                "such as (0, 1) or (0, 255), or two arrays with one number for each feature. "
                f"Received: input_range={input_range!r:.200}"
            )
        return float(low), float(high)
    with np.errstate(over="ignore"):
        low, high = low.astype("float32"), high.astype("float32")
    finite = np.isfinite(low).all() and np.isfinite(high).all()
    if not (finite and (low <= high).all() and (low < high).any()):
        raise ValueError(
            "`input_range` of arrays must hold the lowest and the highest value of each feature: "
            "finite, nowhere the first above the second, and not all of them equal. "
            f"Received: input_range={input_range!r:.200}"
        )
    if shape is not None and not _broadcasts(low.shape, tuple(shape)):
        raise ValueError(
            "`input_range` of arrays must hold one number for each feature, or otherwise broadcast "
            f"against one input, of shape {tuple(shape)}. "
            f"Received: input_range of arrays of shape {low.shape}"
        )
    return low, high


def _numbers(bound: ArrayLike) -> np.ndarray:
    values = np.asarray(bound)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"Expected numbers. Received: {values.dtype}")
    return values


def _broadcasts(shape: tuple[int, ...], target: tuple[int | None, ...]) -> bool:
    if len(shape) > len(target):
        return False
    return all(size in (1, wanted) for size, wanted in zip(shape[::-1], target[::-1], strict=False))


def check_in_range(inputs: Tensor, input_range: InputRange) -> None:
    """Raises ValueError for a batch with values outside of a range that is a limit."""
    if not input_range.is_limit:
        return
    values = ops.convert_to_numpy(inputs)
    low, high = input_range.bounds
    least, most = float(values.min()), float(values.max())
    slack = SLACK * (high - low)
    if least < low - slack or most > high + slack:
        how = ", which its first layers show" if input_range.origin == CLASSIFIER else ""
        if not input_range.known:
            how = ", which was only assumed (`tune` and `calibrate` read it off their data)"
        raise ValueError(
            f"Inputs must lie in the detector's input_range=({low:g}, {high:g}){how}, which its "
            "settings are measured in. Pass the range of the classifier's inputs as "
            "`input_range` (--input-range LO HI), or scale the inputs to it. "
            f"Received: values from {least:g} to {most:g}"
        )
