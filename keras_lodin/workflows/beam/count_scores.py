"""The scores of a folder, counted shard by shard by many workers and merged."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_lodin.metrics.score_histogram import ScoreHistogram
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.workflows.scoring.count_scores import countable_shards, scores_of
from keras_lodin.workflows.scoring.score_folder import ScoreFolder


class CountScores(beam.PTransform):
    """What `keras_lodin.workflows.count_scores` counts, by many workers: a collection of one value.

    The value is a `keras_lodin.metrics.ScoreHistogram`, the same whatever workers did and in
    whatever order. For exact thresholds keep it, and count once more into one that is `finer`.

    Args:
        folder: of the scores, on a disk that all workers see, with all of its shards.
        into: what to count into, such as `first.finer(tpr=0.95)`; see `count_scores`.

    Raises:
        FileNotFoundError: if there are no scores in the folder.
        ValueError: if shards are missing, or scores are NaN.

    Example:
    ```python
    with beam.Pipeline() as pipeline:
        pipeline | CountScores("scores") | beam.Map(save_somewhere)
    ```
    """

    def __init__(self, folder: str | os.PathLike[str], into: ScoreHistogram | None = None) -> None:
        super().__init__()
        # Workers have working folders of their own.
        self._folder = os.path.abspath(checked_path("folder", folder))
        self._shards = countable_shards(ScoreFolder(self._folder))
        self._into = into

    def expand(self, pipeline: Any) -> Any:
        """From a pipeline to the histogram."""
        return (
            pipeline
            | "shards of scores" >> beam.Create(self._shards)
            | "spread over workers" >> beam.Reshuffle()
            | "read" >> beam.ParDo(_ReadScores(self._folder))
            | "count" >> beam.CombineGlobally(CombineScores(self._into))
        )


class CombineScores(beam.CombineFn):
    """Counts arrays of scores, wherever they are from, into a `ScoreHistogram`.

    Args:
        into: what to count into, as of `CountScores`.
    """

    def __init__(self, into: ScoreHistogram | None = None) -> None:
        super().__init__()
        self._into = ScoreHistogram() if into is None else into

    def create_accumulator(self) -> ScoreHistogram:
        """Nothing yet, of the same pass: what `into` has counted is there once."""
        return self._into.emptied()

    def add_input(self, accumulator: ScoreHistogram, element: ArrayLike) -> ScoreHistogram:
        """Counts the scores of an array, shape `(n,)`."""
        accumulator.update(element)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[ScoreHistogram]) -> ScoreHistogram:
        """Merges what was counted apart."""
        merged = self.create_accumulator()
        for one in accumulators:
            merged.merge(one)
        return merged

    def extract_output(self, accumulator: ScoreHistogram) -> ScoreHistogram:
        """All that was counted, with what `into` had."""
        whole = copy.deepcopy(self._into)
        whole.merge(accumulator)
        return whole


class _ReadScores(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, name: str) -> Iterator[NDArray[np.float32]]:
        """Reads the scores of a shard."""
        yield scores_of(ScoreFolder(self._folder), name)
