"""The range of the values that data have, and what it says of a classifier's input range."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import closing

import numpy as np
from keras import ops

from keras_lodin.data.batches import check_images, iterate_batches
from keras_lodin.data.source import Source
from keras_lodin.data.value_range import (
    CONVENTIONS,
    DATA,
    SLACK,
    InputRange,
    checked_input_range,
)
from keras_lodin.utils.tensor import Tensor

# Data that fill less than this of a range are of another: images of 0 to 1 fill 1/255 of 0 to 255.
_LEAST_FILLED = 1.0 / 200.0


class ObservedRange:
    """The lowest and the highest values of data, gathered batch by batch.

    Args:
        shape: shape of one input. Of vectors, every feature has a range of its own.

    Attributes:
        low: what was seen: a number or an array, infinite before anything was.
        high: so too.
    """

    def __init__(self, shape: Sequence[int | None]) -> None:
        self._axes = 0 if len(shape) == 1 else None
        self._bytes = True
        self.low, self.high = np.asarray(np.inf), np.asarray(-np.inf)

    def update(self, inputs: Tensor) -> None:
        """Takes a batch into account: numpy array or tensor of shape `(batch, ...)`."""
        values = ops.convert_to_numpy(inputs)
        self._bytes = self._bytes and values.dtype == np.uint8
        low, high = values.min(axis=self._axes), values.max(axis=self._axes)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    def settled(self) -> InputRange | None:
        """The range that the data show; None where they do not differ at all.

        Of vectors, each feature's own. Otherwise the range among 0 to 1, -1 to 1 and 0 to 255 that
        the data lie in, if it is one; else their own.
        """
        if not np.any(self.high > self.low):
            return None
        if self._axes == 0:
            return InputRange(*checked_input_range((self.low, self.high)), DATA)
        low, high = float(self.low), float(self.high)
        if self._bytes:
            return InputRange(0.0, 255.0, DATA)
        for least, most in CONVENTIONS:
            slack = SLACK * (most - least)
            # Of 0 to 255 at least half: other counts are as small.
            if least - slack <= low and high <= most + slack and high > most / 2.0 - 0.5:
                return InputRange(least, most, DATA)
        return InputRange(low, high, DATA)

    def lies_in(self, input_range: InputRange) -> bool:
        """Whether all values lie in a range."""
        low, high = input_range.bounds
        slack = SLACK * (high - low)
        return bool(np.all(self.low >= low - slack) and np.all(self.high <= high + slack))

    def fill(self, input_range: InputRange) -> float | None:
        """Which part of a range the data fill, at most over the features; None: they are equal."""
        if not np.any(self.high > self.low):
            return None
        low, high = (np.asarray(bound, "float64") for bound in input_range.bounds)
        width = np.where(high > low, high - low, np.inf)
        return float(np.max((self.high - self.low) / width))


def warn_of_small_values(observed: ObservedRange, input_range: InputRange) -> None:
    """Warns where data, over a whole pass, fill less than 1/200 of a range: their units differ."""
    fill = observed.fill(input_range)
    if fill is None or fill >= _LEAST_FILLED:
        return
    low, high = float(np.min(observed.low)), float(np.max(observed.high))
    warnings.warn(
        f"The data fill only 1/{1.0 / fill:.0f} of the range of the classifier's inputs, "
        f"{input_range}: they seem to be scaled to another. Scale them to the range that the "
        "classifier takes, or pass theirs as `input_range` (--input-range LO HI) if it takes them "
        f"as they are. Received: values from {low:g} to {high:g}",
        UserWarning,
        stacklevel=2,
    )


def settle(
    input_range: InputRange, data: object, shape: Sequence[int | None], batch_size: int
) -> InputRange:
    """The range that in-distribution data show, where it is not known yet.

    Vectors are gone through once. Of other data the first batch tells whether they are of the
    range that was assumed; only if they are not, all are gone through. Data that
    `keras_lodin.data` brought to the range that was assumed show nothing.

    Args:
        input_range: the range so far.
        data: in-distribution inputs, as `Detector.calibrate` takes them.
        shape: shape of one input.
        batch_size: samples per batch, for data that is not batched already.

    Returns:
        a range that is known, or `input_range` itself.
    """
    if input_range.known:
        return input_range
    brought_to = data.input_range if isinstance(data, Source) and data.scaled else ()
    if brought_to and all(map(np.array_equal, brought_to, input_range.bounds)):
        return input_range
    observed = ObservedRange(shape)
    with closing(iterate_batches(data, batch_size)) as batches:
        for number, (inputs, _) in enumerate(batches):
            check_images(inputs, tuple(shape))
            observed.update(inputs)
            if number == 0 and len(shape) != 1 and observed.lies_in(input_range):
                break
    fill = observed.fill(input_range)
    if fill is not None and fill < _LEAST_FILLED:
        return input_range  # `warn_of_small_values` speaks of it
    return observed.settled() or input_range
