"""Shards of images to figures of their scores, the scores going to a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from keras_lodin.data.shards import Shard
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.workflows.scoring import score_shard


class ScoreShards(beam.PTransform):
    """Scores shards, each into one file that is there whole or not at all.

    A shard that a worker was killed at is scored by another; one that is scored twice, as engines
    do that retry or race, leaves the same file. So no row is lost and none is there twice, whatever
    the runner promises of side effects, which is little.

    Args:
        artifact: a SavedModel folder or a file that was exported, or a `.keras` detector.
        folder: of the scores, on a disk that all workers see.
        **settings: `input_range`, `format` and `batch_size` of `keras_lodin.score_shard`.

    Example:
    ```python
    with beam.Pipeline() as pipeline:
        outcomes = (
            pipeline
            | beam.Create(keras_lodin.plan(["photos"]))
            | ScoreShards("detector.onnx", "scores")
        )
        outcomes | beam.Map(lambda outcome: outcome["scored"]) | beam.CombineGlobally(sum)
    ```
    """

    def __init__(
        self,
        artifact: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        **settings: Any,
    ) -> None:
        super().__init__()
        # Workers have working folders of their own.
        self._artifact = os.path.abspath(checked_path("artifact", artifact))
        self._folder = os.path.abspath(checked_path("folder", folder))
        self._settings = settings

    def expand(self, shards: Any) -> Any:
        """From a collection of shards to one of what `keras_lodin.score_shard` returns."""
        work = beam.ParDo(_ScoreShard(self._artifact, self._folder, self._settings))
        # A runner fuses steps that follow each other, and one worker would do all that it made.
        return shards | "spread over workers" >> beam.Reshuffle() | "score" >> work


class _ScoreShard(beam.DoFn):
    def __init__(self, artifact: str, folder: str, settings: dict[str, Any]) -> None:
        self._artifact, self._folder, self._settings = artifact, folder, settings

    def process(self, shard: Shard) -> Iterator[dict[str, Any]]:
        """Scores a shard."""
        yield score_shard(self._artifact, shard, self._folder, **self._settings)
