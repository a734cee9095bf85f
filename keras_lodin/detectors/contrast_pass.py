"""How well scores tell in-distribution data from their contrast, in one pass for many scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

from keras_lodin.data.contrasts import CONTRASTS
from keras_lodin.data.passes import BatchFunction, joined, naming
from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.tuning_margin import Placements, mean_placements, placements
from keras_lodin.metrics.scores import check_scores
from keras_lodin.utils.tensor import Tensor
from keras_lodin.utils.threads import in_threads


class Separation(NamedTuple):
    """Where the scores of one setting stand, and their mean over the in-distribution data.

    Attributes:
        placed: against the contrast, the mean over its kinds.
        mean: of the in-distribution scores.
        id_count: how many in-distribution samples there are.
        contrast_count: how many of the contrast; of made-up data, of each kind.
    """

    placed: Placements
    mean: float
    id_count: int
    contrast_count: int


def separations(
    detectors: Sequence[Detector],
    scores: Callable[[Tensor], list[Tensor]],
    id_data: object,
    ood_data: object,
    task: str,
    batch_size: int,
    verbose: int | str,
) -> list[list[Separation]]:
    """Scores data and their contrast by several settings of several detectors at once.

    Args:
        detectors: check the inputs, and are named where scores are no numbers.
        scores: from a batch to the scores of each setting, float32, `(batch, settings)`, for each
            of the detectors.
        id_data: in-distribution inputs.
        ood_data: None for data made of `id_data`, or out-of-distribution inputs.
        task: what is being done, for the progress bar.
        batch_size: samples per batch, for data that is not batched already.
        verbose: as in `tune`.

    Returns:
        for each detector a `Separation` for each setting.

    Raises:
        ValueError: as `Detector.check_inputs` does, naming the data; for scores that are not
            finite.
    """
    compiled = BatchFunction(scores)

    def check(inputs: Tensor) -> None:
        for detector in detectors:
            detector.check_inputs(inputs)

    ours: list[Any] = []
    theirs: list[list[Any]] = [[] for _ in (CONTRASTS if ood_data is None else [ood_data])]
    with naming("`id_data`"):
        for batch in compiled.over(id_data, task, batch_size, verbose, check=check):
            ours.append(batch.outputs)
            if ood_data is None:
                # The next contrast is made while the classifier computes, and no other is kept.
                copies = [partial(make, batch.inputs) for make in CONTRASTS.values()]
                made = in_threads(lambda make: make(), copies, 1, 1)
                with closing(made) as contrasts:
                    for found, contrast in zip(theirs, contrasts, strict=True):
                        found.append(compiled(contrast))
    if ood_data is not None:
        with naming("`ood_data`"):
            for batch in compiled.over(ood_data, task, batch_size, verbose, check=check):
                theirs[0].append(batch.outputs)
    id_scores, others = joined(ours), [joined(found) for found in theirs]
    for found in (id_scores, *others):
        for detector, values in zip(detectors, found, strict=True):
            # A NaN is the least of any numbers.
            check_scores(detector.name, values.min(axis=-1))
    return [
        [
            Separation(
                mean_placements([placements(own, other[k][:, number]) for other in others]),
                float(own.mean()),
                len(own),
                len(others[0][k]),
            )
            for number, own in enumerate(of_detector.T)
        ]
        for k, of_detector in enumerate(id_scores)
    ]
