"""Scores of any number of images, in one process that can be killed at any moment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from keras_lodin.data.shards import SHARD_SIZE, Shard, input_folders, plan
from keras_lodin.data.value_range import Bounds
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import check_no_input, clear_leftovers
from keras_lodin.utils.folder_claim import claimed
from keras_lodin.utils.progress import counting
from keras_lodin.workflows.scoring.score_folder import ScoreFolder
from keras_lodin.workflows.scoring.score_summary import ScoreSummary, summarize
from keras_lodin.workflows.scoring.shard_scorer import ShardScorer


def score_to_folder(
    artifact: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    shard_size: int = SHARD_SIZE,
    format: str = "parquet",
    input_range: Bounds | None = None,
    batch_size: int = 128,
    image_column: str | None = None,
    key_column: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    verbose: int | str = "auto",
) -> ScoreSummary:
    """Scores images into a folder, shard after shard, with as much memory for a million as for ten.

    Killed at any moment and started again with the same arguments it goes on with the shard that it
    was at: no row is lost or there twice.

    Args:
        artifact: a SavedModel folder or a file that was exported, or a `.keras` detector.
        inputs: see `keras_lodin.plan`.
        output: the folder, see `keras_lodin.score_shard`: new, empty, or begun by the same call.
        shard_size: images in a shard at most. A kill costs one shard's work.
        format: of the rows: "parquet" or "csv".
        input_range: range of the classifier's inputs; None for what the artifact says.
        batch_size: images in a batch.
        image_column: see `keras_lodin.plan`.
        key_column: see `keras_lodin.plan`.
        data_dir: folder of the TensorFlow datasets, or of OpenOOD's data.
        verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

    Returns:
        the figures of all shards; the scores themselves are in the files.

    Raises:
        ValueError: if there is nothing to score, the folder holds something else, another run is at
            work in it, or it lies in one of the inputs.
        FileNotFoundError: if there is no artifact, or nothing at one of the paths.
        OSError: if nothing can be written there; this is found out before the work.

    Example:
    ```python
    summary = score_to_folder("detector.onnx", ["photos", "archive.parquet"], "scores")
    summary.flagged
    ```
    """
    with prepared(
        artifact,
        inputs,
        output,
        shard_size=shard_size,
        format=format,
        input_range=input_range,
        batch_size=batch_size,
        image_column=image_column,
        key_column=key_column,
        data_dir=data_dir,
    ) as (scorer, shards, folder):
        images = sum(shard.count for shard in shards)
        with counting("Scoring", images, verbose) as scored:
            for shard in shards:
                if folder.is_done(shard.name):
                    scored(shard.count)
                else:
                    scorer.score(shard, folder, scored)
        return summarize(folder, map(str, inputs))


@contextlib.contextmanager
def prepared(
    artifact: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    shard_size: int = SHARD_SIZE,
    format: str = "parquet",
    input_range: Bounds | None = None,
    batch_size: int = 128,
    image_column: str | None = None,
    key_column: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Iterator[tuple[ShardScorer, list[Shard], ScoreFolder]]:
    """What comes before scores, whoever makes them: checks, plan and manifest, in a claimed folder.

    Args:
        artifact: see `score_to_folder`, as for all others.

    Yields:
        what scores, all shards, and the folder.
    """
    folder = ScoreFolder(checked_path("output", output))
    if isinstance(inputs, Iterable) and not isinstance(inputs, (str, os.PathLike)):
        inputs = [checked_path("inputs", one) for one in inputs]
        folders = map(Path, input_folders(map(str, inputs)))
        read = [checked_path("artifact", artifact), *folders]
        check_no_input(folder.path, read)
    with claimed(folder.path):
        scorer = ShardScorer(
            artifact, input_range=input_range, format=format, batch_size=batch_size
        )
        shards = plan(
            inputs,
            shard_size,
            image_column=image_column,
            key_column=key_column,
            data_dir=data_dir,
        )
        scorer.begin(shards[0], folder)
        yield scorer, shards, folder
        clear_leftovers(folder.path)


def names_folder(output: str | os.PathLike[str]) -> bool:
    """Whether an output is meant as a folder of scores: it ends in a slash, or is a folder."""
    text = os.fspath(output)
    return text.endswith(("/", os.sep)) or os.path.isdir(text)
