"""How well a trained classifier tells validation data from made-up out-of-distribution data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TypedDict

import numpy as np

from keras_lodin.data.batches import iterate_batches
from keras_lodin.data.scrambled import scrambled
from keras_lodin.detectors import Detector
from keras_lodin.evaluation.one_pass import evaluate

SCRAMBLED = "scrambled"


class Measured(TypedDict, total=False):
    """What `measure` found: detector -> OOD set -> fraction, of `auroc` and `fpr95` (ID positive).

    Of a training that diverged there is the reason alone.
    """

    id_accuracy: float
    auroc: dict[str, dict[str, float]]
    fpr95: dict[str, dict[str, float]]
    diverged: str


def validation_specifications(shape: Sequence[int | None], count: int) -> list[str]:
    """The made-up OOD data that fits examples of a shape, besides scrambled copies.

    Photographs are for images, noise is for anything; `count` examples of each.
    """
    images = [f"photos:{count}"] if len(shape) == 3 and shape[-1] in (1, 3) else []
    return [f"noise:uniform:{count}", f"noise:gaussian:{count}", *images]


def with_scrambled(
    id_data: object, batch_size: int = 128
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Labelled data in memory, `(x, y)`, and an array of the scrambled copies of x.

    Raises:
        ValueError: for data without labels.
    """
    batches = list(iterate_batches(id_data, batch_size))
    if not batches or any(labels is None for _, labels in batches):
        raise ValueError("The ID validation data must have labels. Received: data without labels")
    x = np.concatenate([np.asarray(inputs) for inputs, _ in batches])
    y = np.concatenate([np.asarray(labels) for _, labels in batches])
    return (x, y), scrambled(x)


def measure(
    detectors: Mapping[str, Detector],
    id_data: object,
    ood_data: Mapping[str, object],
    batch_size: int = 128,
) -> Measured:
    """Figures without intervals: those of one seed among several."""
    rows = evaluate(
        detectors, id_data, ood_data, batch_size=batch_size, resamples=1, verbose=0
    ).rows

    def by_detector(figure: str) -> dict[str, dict[str, float]]:
        return {
            name: {row["ood"]: row[figure] for row in rows if row["detector"] == name}
            for name in detectors
        }

    return {
        "id_accuracy": rows[0]["id_accuracy"],
        "auroc": by_detector("auroc"),
        "fpr95": by_detector("fpr95"),
    }


def mean_separation(figures: Measured, detector: str) -> float:
    """The plain mean of a detector's AUROC over the OOD sets: what the selection rule compares."""
    return fmean(figures["auroc"][detector].values())
