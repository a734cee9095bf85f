"""A detector's statistics of training data, counted part by part and merged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from keras_lodin.data.shards import SHARD_SIZE, SourceShard
from keras_lodin.data.shards.source_shard import source_shards
from keras_lodin.detectors.statistics_detector import StatisticsDetector, observed_together
from keras_lodin.models.loading import load
from keras_lodin.utils.checked_path import checked_path

Statistics = dict[str, Any]


class TakeStatistics(beam.PTransform):
    """What `adapt` counts of training data, by many workers: a collection of one value.

    The value goes to `detector.adapt_from`. It is what one pass over all of the data counts, but
    for rounding in double precision.

    Args:
        detector: a `.keras` file of a detector with an `adapt_from`, adapted or not.
        data: training data by name, such as `tfds:imagenet2012:train`, with labels where the
            detector needs them.
        shard_size: examples that a worker counts in one go.
        data_dir: folder of the TensorFlow datasets, or of OpenOOD's data.
        batch_size: examples in a batch.

    Raises:
        ValueError: if the file holds no such detector, or data are not as they must be.
        FileNotFoundError: if one of them is not there.

    Example:
    ```python
    with beam.Pipeline() as pipeline:
        statistics = pipeline | TakeStatistics("mahalanobis.keras", "tfds:cifar10:train")
        statistics | beam.Map(save_somewhere)
    ```
    """

    def __init__(
        self,
        detector: str | os.PathLike[str],
        data: str,
        *,
        shard_size: int = SHARD_SIZE,
        data_dir: str | os.PathLike[str] | None = None,
        batch_size: int = 128,
    ) -> None:
        super().__init__()
        self._detector = os.path.abspath(checked_path("detector", detector))
        _load(self._detector)
        self._shards = list(source_shards(data, shard_size, data_dir))
        self._batch_size = batch_size

    def expand(self, pipeline: Any) -> Any:
        """From a pipeline to the statistics."""
        return (
            pipeline
            | "parts of the data" >> beam.Create(self._shards)
            | "spread over workers" >> beam.Reshuffle()
            | "count" >> beam.ParDo(_Observe(self._detector, self._batch_size))
            | "merge" >> beam.CombineGlobally(MergeStatistics()).without_defaults()
        )


class MergeStatistics(beam.CombineFn):
    """Merges statistics that were counted apart, as `detector.new_statistics()` has them."""

    def create_accumulator(self) -> Statistics | None:
        """Nothing: what statistics of no sample are, a detector says."""
        return None

    def add_input(self, accumulator: Statistics | None, element: Statistics) -> Statistics | None:
        """Takes in the statistics of a part."""
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Statistics | None]) -> Statistics | None:
        """Merges the later into the first."""
        merged: Statistics | None = None
        for one in accumulators:
            if merged is None:
                merged = one
            elif one is not None:
                for name, statistic in merged.items():
                    statistic.merge(one[name])
        return merged

    def extract_output(self, accumulator: Statistics | None) -> Statistics | None:
        """What goes to `adapt_from`."""
        return accumulator


class _Observe(beam.DoFn):
    def __init__(self, detector: str, batch_size: int) -> None:
        self._path, self._batch_size = detector, batch_size

    def setup(self) -> None:
        """Loads the detector, once for many parts."""
        self._detector = _load(self._path)

    def process(self, shard: SourceShard) -> Iterator[Statistics]:
        """Counts a part."""
        detector = self._detector
        shape = detector.input_shape_with_batch[1:]
        source = shard.source(shape, detector.judged_input_range.bounds)
        part = source.excerpt(shard.first, shard.count)
        (statistics,) = observed_together([detector], part, self._batch_size, verbose=0)
        yield statistics


def _load(path: str) -> StatisticsDetector:
    detector = load(checked_path("detector", path))
    if not isinstance(detector, StatisticsDetector):
        raise ValueError(
            "Expected a detector whose statistics can be merged, one with an `adapt_from`. "
            f"Received: a {type(detector).__name__} in {path}"
        )
    return detector
