"""One shard in, one file out: whole or absent, and skipped if it is there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.data.shards import ImageReader, Shard
from keras_lodin.data.source import check_batch_size
from keras_lodin.data.value_range import Bounds, checked_input_range
from keras_lodin.export import artifact_digest, load_artifact
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.workflows.scoring.score_folder import COLUMNS, Rows, ScoreFolder, check_format

# Of p-values: so many bins of one width between 0 and 1.
P_VALUE_BINS = 20

# Of the artifact's metadata, what a reader of scores wants to know of it.
_TELLING = (
    *("detector", "threshold", "tpr", "confidence", "calibration_count", "p_value_count"),
    "class_names",
)
# A process works on one shard at a time, whatever its threads do: it has the processors already.
_working = threading.Lock()
# The last one, and what it was made of.
_kept: list[tuple[str, ShardScorer]] = []


class ShardScorer:
    """An artifact with what is done to images before it, for any number of shards.

    Args:
        artifact: as of `score_shard`.
        input_range: as of `score_shard`.
        format: as of `score_shard`.
        batch_size: as of `score_shard`.

    Raises:
        ValueError: if an argument is not as it must be.
        FileNotFoundError: if there is no artifact.
    """

    def __init__(
        self,
        artifact: str | os.PathLike[str],
        *,
        input_range: Bounds | None = None,
        format: str = "parquet",
        batch_size: int = 128,
    ) -> None:
        check_format(format)
        check_batch_size(batch_size)
        given = None if input_range is None else checked_input_range(input_range)
        path = checked_path("artifact", artifact)
        self._artifact = load_artifact(path)
        self._format = format
        self._reader = ImageReader(
            self._artifact.input_shape[1:], given or self._artifact.input_range, batch_size
        )
        self._manifest_artifact = {
            "sha256": artifact_digest(path),
            **{name: self._artifact.metadata.get(name) for name in _TELLING},
        }
        range_given = None if given is None else [np.asarray(end).tolist() for end in given]
        self._settings = {"input_range": range_given, "format": format}

    def begin(self, shard: Shard, folder: ScoreFolder) -> None:
        """Makes the folder one of these scores, or raises ValueError if it is one of others."""
        if shard.plan is None:
            raise ValueError(f"Expected a shard from `keras_lodin.plan`. Received: {shard!r}")
        folder.begin(self._manifest_artifact, self._settings, asdict(shard.plan))

    def score(
        self, shard: Shard, folder: ScoreFolder, scored: Callable[[int], None] = lambda count: None
    ) -> dict[str, Any]:
        """Scores a shard that is not done yet.

        Args:
            shard: the shard.
            folder: where its files belong; see `begin`.
            scored: is told after every batch of how many images it was.

        Returns:
            what it gave, in figures; see `score_shard`.
        """
        start = time.monotonic()
        parts: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        unreadable: list[tuple[str, str]] = []
        for keys, images in self._reader.batches(shard, unreadable):
            outputs = self._artifact.score(images)
            parts["key"] += keys
            # Not the logits: of a shard of a thousand classes they would be the most.
            parts["class"].append(outputs["logits"].argmax(axis=-1))
            for name in ("score", "is_ood", "p_value"):
                if name in outputs:
                    parts[name].append(outputs[name])
            scored(len(keys))
        scored(len(unreadable))
        rows = self._rows(parts)
        outcome = {
            "shard": shard.name,
            "input": shard.label,
            "images": shard.count,
            "scored": len(rows["key"]),
            "out_of_distribution": int(rows["is_ood"].sum()),
            "unreadable": len(unreadable),
            "not_a_number": int(np.isnan(rows["score"]).sum()),
            "p_values": self._histogram(rows["p_value"]),
            "seconds": round(time.monotonic() - start, 3),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        folder.write(shard.name, rows, unreadable, outcome, self._format)
        return outcome

    def _rows(self, parts: dict[str, list[Any]]) -> Rows:
        def joined(name: str, kind: str) -> np.ndarray:
            return np.concatenate([*parts[name], np.zeros(0, kind)]).astype(kind)

        names = self._artifact.class_names
        classes = joined("class", "int32")
        has_p_values = "p_value" in self._artifact.metadata["output_names"]
        return {
            "key": parts["key"],
            "class": classes,
            "class_name": [""] * len(classes) if names is None else [names[n] for n in classes],
            "score": joined("score", "float32"),
            "is_ood": joined("is_ood", "bool"),
            "p_value": joined("p_value", "float32") if has_p_values else None,
        }

    def _histogram(self, p_values: np.ndarray | None) -> list[int] | None:
        if p_values is None or self._artifact.metadata.get("p_value_count") is None:
            return None
        return np.histogram(p_values, P_VALUE_BINS, (0, 1))[0].tolist()


def score_shard(
    artifact: str | os.PathLike[str],
    shard: Shard,
    folder: str | os.PathLike[str],
    *,
    input_range: Bounds | None = None,
    format: str = "parquet",
    batch_size: int = 128,
) -> dict[str, Any]:
    """Scores one shard into one file, which is there whole or not at all.

    Whatever carries the work, Beam, Spark, a batch system or a loop, can call it for any shard, in
    any order, as often as it likes: a shard whose file is there is not worked on again, and what a
    killed process left is cleared up. A folder holds the scores of one artifact with one set of
    settings and one plan; `manifest.json` says which, and others are refused. The artifact stays in
    memory for the next shard.

    In the folder are then `scores/NAME.parquet` with the columns `key`, `class`, `class_name`,
    `score`, `is_ood` and `p_value`; `shards/NAME.json`, what is returned; and, where images could
    not be read, `unreadable/NAME.csv` with their keys and the reasons.

    Args:
        artifact: a SavedModel folder or a file that was exported, or a `.keras` detector.
        shard: from `keras_lodin.plan`.
        folder: of the scores, on a disk that all workers see.
        input_range: range of the classifier's inputs; None for what the artifact says.
        format: of the rows: "parquet", or "csv", in which text that a spreadsheet would run as a
            formula gets an apostrophe before it.
        batch_size: images in a batch.

    Returns:
        what the shard gave: how many `images` it has, how many were `scored`, are
        `out_of_distribution`, `unreadable` or have a score that is `not_a_number`; `p_values`, how
        many are in each of 20 bins between 0 and 1 (None for an artifact without them); `seconds`,
        and when it was `finished`.

    Raises:
        ValueError: if the folder holds scores of another artifact, with other settings or of other
            inputs, or what the images are stored in is damaged.
        FileNotFoundError: if there is no artifact.
        OSError: if images cannot be read, or scores cannot be written.

    Example:
    ```python
    for shard in keras_lodin.plan(["photos"], 1000):
        keras_lodin.score_shard("detector.onnx", shard, "scores")
    ```
    """
    path = checked_path("artifact", artifact)
    scores = ScoreFolder(checked_path("folder", folder))
    with _working:
        scorer = _kept_scorer(path, input_range=input_range, format=format, batch_size=batch_size)
        scorer.begin(shard, scores)
        if scores.is_done(shard.name):
            return scores.outcome(shard.name)
        return scorer.score(shard, scores)


def _kept_scorer(path: Path, **settings: Any) -> ShardScorer:
    """The scorer of the shard before if it is the same: loading takes seconds."""
    # By number and time as well: another artifact may have taken its place.
    stamp = (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None
    made_of = repr((os.path.abspath(path), stamp, settings))
    if not _kept or _kept[0][0] != made_of:
        _kept[:] = [(made_of, ShardScorer(path, **settings))]
    return _kept[0][1]
