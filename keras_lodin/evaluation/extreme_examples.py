"""The few examples of a data set whose scores are the most surprising, kept as pictures."""

from __future__ import annotations

import numpy as np

from keras_lodin.evaluation.document import Example

COUNT = 8


class ExtremeExamples:
    """Keeps those of the lowest or of the highest score, batch by batch, and no other pixel.

    Args:
        lowest: whether the lowest scores are wanted (in-distribution data), not the highest.
    """

    def __init__(self, lowest: bool) -> None:
        self._sign = 1.0 if lowest else -1.0
        self._kept: list[Example] = []
        self._seen = 0

    def update(self, scores: np.ndarray, inputs: np.ndarray) -> None:
        """Looks at the scores and inputs of a batch; only images, of 1 or 3 channels, are kept."""
        inputs = np.asarray(inputs)
        if inputs.ndim == 4 and inputs.shape[-1] in (1, 3):
            places = np.argsort(self._sign * scores, kind="stable")[:COUNT]
            shown = _as_pictures(inputs, places)
            found = [
                (float(scores[place]), self._seen + int(place), picture)
                for place, picture in zip(places, shown, strict=True)
            ]
            ordered = sorted(self._kept + found, key=lambda one: (self._sign * one[0], one[1]))
            self._kept = ordered[:COUNT]
        self._seen += len(scores)

    @property
    def examples(self) -> list[Example]:
        """Score, number in the data set, and uint8 pixels; the most surprising first."""
        return list(self._kept)


def _as_pictures(inputs: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
    """Chosen inputs as uint8. The range is judged by the whole batch."""
    low, high = float(inputs.min()), float(inputs.max())
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    elif low >= 0.0 and high <= 255.0:
        low, high = 0.0, 255.0
    scaled = (inputs[places].astype("float32") - low) * (255.0 / max(high - low, 1e-12))
    return list(np.clip(np.round(scaled), 0, 255).astype("uint8"))
