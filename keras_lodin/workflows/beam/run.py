"""Scores of any number of images, by a runner of Apache Beam."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from keras_lodin.workflows.beam.score_shards import ScoreShards
from keras_lodin.workflows.scoring import ScoreSummary, summarize
from keras_lodin.workflows.scoring.run import prepared

# The settings that `score_shard` takes.
_OF_SHARDS = ("input_range", "format", "batch_size")


def score_on_beam(
    artifact: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    runner: str,
    options: Sequence[str] = (),
    **settings: Any,
) -> ScoreSummary:
    """Scores images into a folder, as `score_to_folder` does, by the workers of a runner of Beam.

    Args:
        artifact: a SavedModel folder or a file that was exported, or a `.keras` detector.
        inputs: see `keras_lodin.plan`.
        output: the folder, on a disk that all workers see.
        runner: name of the runner, such as "DirectRunner", "DaskRunner" or "FlinkRunner".
        options: further options of Beam, such as `["--direct_num_workers=2"]`.
        **settings: those of `score_to_folder`, without `verbose`.

    Returns:
        the figures of all shards; the scores themselves are in the files.

    Raises:
        ValueError: as `score_to_folder`, and for an unknown runner.
        FileNotFoundError: as `score_to_folder`.
        OSError: as `score_to_folder`.
    """
    inputs = list(inputs)
    with prepared(artifact, inputs, output, **settings) as (_, shards, folder):
        left = [shard for shard in shards if not folder.is_done(shard.name)]
        scored = {name: settings[name] for name in _OF_SHARDS if name in settings}
        with beam.Pipeline(options=PipelineOptions(["--runner", runner, *options])) as pipeline:
            pipeline | beam.Create(left) | ScoreShards(artifact, folder.path, **scored)
        return summarize(folder, map(str, inputs))
