"""A folder of scores: a file of rows for each shard, whole or absent, and what tells them apart."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.utils.files import clear_leftovers, write_json, write_together
from keras_lodin.utils.foreign_text import csv_cell, csv_text, encodable
from keras_lodin.utils.needed_packages import imported_for
from keras_lodin.utils.parquet_file import parquet_file
from keras_lodin.workflows.run_folder import JobFolder

COLUMNS = ("key", "class", "class_name", "score", "is_ood", "p_value")
ROW_FORMATS = ("parquet", "csv")
_TEXTS = ("key", "class_name")

_MANIFEST = "manifest.json"
_KIND = "keras-lodin scores"
_VERSION = 1
# What is read of the manifest's parts.
_NEEDED = {
    "artifact": {"detector", "sha256"},
    "plan": {"shards", "shard_size", "images", "sha256"},
}

# A column: texts, or numbers; None for p-values of an artifact that has none.
Rows = dict[str, Any]


class ScoreFolder:
    """What `keras-lodin score` and `keras_lodin.score_shard` write, one shard at a time.

    * `manifest.json`: the artifact, the settings, and what the shards are of. Written first.
    * `scores/00000.parquet`, or `.csv`: the rows of a shard. It is there once the shard is done.
    * `unreadable/00000.csv`: keys and reasons; only where a shard has images without a score.
    * `shards/00000.json`: what the shard gave, in figures.

    The files of a shard are moved into place together, its rows last.

    Args:
        path: of the folder, which need not be there yet.

    Example:
    ```python
    folder = ScoreFolder("scores")
    for name in folder.done():
        folder.rows(name)["p_value"]
    ```
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._job = JobFolder(self.path, "scoring")

    @property
    def begun(self) -> bool:
        """Whether there is a manifest, and so a folder of scores at all."""
        return (self.path / _MANIFEST).exists()

    def manifest(self) -> dict[str, Any]:
        """What the scores are of, and by what.

        Raises:
            FileNotFoundError: if there are no scores in the folder.
            ValueError: if the file is damaged, or of a later version.
        """
        manifest = self._read_manifest()
        if manifest is None:
            raise FileNotFoundError(
                "There is no manifest.json in the folder, as `keras-lodin score --output DIR/` "
                f"writes it. Received: {str(self.path)!r}"
            )
        return manifest

    def begin(
        self, artifact: Mapping[str, Any], settings: Mapping[str, Any], plan: Mapping[str, Any]
    ) -> None:
        """Writes the manifest, or holds what is about to be done to the one that is there.

        Args:
            artifact: what tells the artifact, with its `sha256`.
            settings: that scores or files depend on, with the `format` of rows.
            plan: `inputs`, `shard_size`, `shards`, `images` and the `sha256` of what they are.

        Raises:
            ValueError: if the folder holds scores of another artifact, with other settings or of
                other inputs, or something else.
            OSError: if nothing can be written there.
        """
        clear_leftovers(self.path)
        before = self._read_manifest()
        if before is None:
            try:
                self._job.check_begins()
            except ValueError:
                # Another process may have begun the same in between.
                before = self._read_manifest()
                if before is None:
                    raise
        now = {
            "format": _KIND,
            "version": _VERSION,
            "artifact": dict(artifact),
            "settings": dict(settings),
            "plan": dict(plan),
        }
        if before is None:
            write_json(now, self.path / _MANIFEST)
        else:
            self._job.check_same_settings(_telling(before), _telling(encodable(now)))

    def is_done(self, name: str) -> bool:
        """Whether the rows of a shard are there."""
        return any((self.path / "scores" / f"{name}.{kind}").exists() for kind in ROW_FORMATS)

    def done(self) -> list[str]:
        """The names of the shards whose rows are there, in order."""
        found = (self.path / "scores").glob("*.*")
        names = {path.stem for path in found if path.suffix[1:] in ROW_FORMATS}
        return sorted(name for name in names if name.isdigit())

    def outcome(self, name: str) -> dict[str, Any]:
        """What a shard gave, in figures.

        Raises:
            FileNotFoundError: if it is not done.
            ValueError: if its file is damaged.
        """
        file = f"shards/{name}.json"
        try:
            outcome = json.loads((self.path / file).read_text(encoding="utf-8"))
        except ValueError:
            outcome = None
        if not isinstance(outcome, dict):
            raise self._job.damaged(file)
        return outcome

    def unreadable(self, name: str) -> Iterator[tuple[str, str]]:
        """Key and reason of each image of a shard that could not be read."""
        path = self.path / "unreadable" / f"{name}.csv"
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                rows = csv.reader(file)
                next(rows, None)
                yield from ((key, reason) for key, reason in rows)

    def rows(self, name: str, columns: Sequence[str] = COLUMNS) -> Rows:
        """The rows of a shard by their columns.

        Args:
            name: of the shard.
            columns: those that are wanted: keys take more time and memory than all others.

        Returns:
            `key` and `class_name`, lists of texts; `class`, `score` and `is_ood`, arrays of int32,
            float32 and bool; `p_value`, a float32 array, or None where the artifact has none.

        Raises:
            FileNotFoundError: if the shard is not done.
        """
        path = self.path / "scores" / f"{name}.parquet"
        if path.exists():
            with parquet_file(path) as file:
                table = file.read(list(columns))
            return {column: _of_parquet(column, table.column(column)) for column in columns}
        with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
            texts: dict[str, list[str]] = {column: [] for column in columns}
            for row in csv.DictReader(file):
                for column, found in texts.items():
                    found.append(row[column])
        return {column: _of_csv(column, found) for column, found in texts.items()}

    def write(
        self,
        name: str,
        rows: Rows,
        unreadable: Sequence[tuple[str, str]],
        outcome: Mapping[str, Any],
        format: str,
    ) -> None:
        """Writes all files of a shard, or none.

        Args:
            name: of the shard.
            rows: as `rows` returns them.
            unreadable: key and reason of each image without a score.
            outcome: what the shard gave, in figures.
            format: of the rows: "parquet" or "csv".

        Raises:
            OSError: if they cannot be written.
        """
        last, aside = f"scores/{name}.{format}", f"unreadable/{name}.csv"
        # An earlier try, killed amid the moves, may have met a file that can be read by now.
        stale = () if unreadable else (aside,)
        with write_together(self.path, last, stale) as folder:
            for part in ("scores", "shards", "unreadable"):
                (folder / part).mkdir()
            (_write_parquet if format == "parquet" else _write_csv)(rows, folder / last)
            if unreadable:
                cells = (map(csv_cell, row) for row in unreadable)
                text = csv_text(("key", "reason"), cells)
                (folder / aside).write_bytes(text.encode())
            text = json.dumps(encodable(dict(outcome)), indent=2, ensure_ascii=False)
            (folder / "shards" / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")

    def _read_manifest(self) -> dict[str, Any] | None:
        manifest = self._job.earlier_state(
            _MANIFEST, format=str, version=int, artifact=dict, settings=dict, plan=dict
        )
        if manifest is not None and (manifest["format"], manifest["version"]) != (_KIND, _VERSION):
            raise ValueError(
                f"The manifest.json in the folder is not one of {_KIND!r}, version {_VERSION}. "
                "Choose another folder, or read it with the keras-lodin that wrote it. "
                f"Received: format={manifest['format']!r}, version={manifest['version']} in "
                f"{str(self.path)!r}"
            )
        if manifest is not None and not all(
            keys <= manifest[part].keys() for part, keys in _NEEDED.items()
        ):
            raise self._job.damaged(_MANIFEST)
        return manifest


def check_format(format: str) -> None:
    """Raises ValueError for an unknown format of rows, and ImportError if it cannot be written."""
    if format not in ROW_FORMATS:
        raise ValueError(
            f"`format` must be one of {', '.join(ROW_FORMATS)}. Received: format={format!r}"
        )
    if format == "parquet":
        with imported_for("Writing Parquet files, which the format 'csv' does without,"):
            import pyarrow.parquet  # noqa: F401


def _telling(manifest: Mapping[str, Any]) -> dict[str, object]:
    """What must be the same in two manifests of the same scoring."""
    plan = manifest["plan"]
    return {
        "artifact": "{detector} with the digest {sha256}".format(**manifest["artifact"]),
        **manifest["settings"],
        "shard_size": plan["shard_size"],
        # Not how they were written: two ways to name the same files are no difference.
        "inputs": f"{plan['images']} images with the digest {plan['sha256']}",
    }


def _of_parquet(column: str, values: Any) -> Any:
    if column in _TEXTS:
        return values.to_pylist()
    return None if column == "p_value" and values.null_count else values.to_numpy()


def _of_csv(column: str, texts: list[str]) -> Any:
    if column in _TEXTS:
        return texts
    if column == "is_ood":
        return np.array([text == "True" for text in texts], bool)
    if column == "p_value" and "" in texts:
        return None
    return np.array(texts, "int32" if column == "class" else "float32")


def _write_csv(rows: Rows, path: Path) -> None:
    count = len(rows["key"])
    columns = [
        [None] * count if rows[name] is None else np.asarray(rows[name]).tolist()
        for name in COLUMNS
    ]
    cells = (map(csv_cell, row) for row in zip(*columns, strict=True))
    path.write_bytes(csv_text(COLUMNS, cells).encode())


def _write_parquet(rows: Rows, path: Path) -> None:
    with imported_for("Writing Parquet files"):
        import pyarrow
        import pyarrow.parquet
    kinds = (
        *(pyarrow.string(), pyarrow.int32(), pyarrow.string()),
        *(pyarrow.float32(), pyarrow.bool_(), pyarrow.float32()),
    )
    nothing = [None] * len(rows["key"])
    columns = [
        pyarrow.array(encodable(values) if isinstance(values, list) else values, kind)
        for values, kind in zip(
            (nothing if rows[name] is None else rows[name] for name in COLUMNS), kinds, strict=True
        )
    ]
    pyarrow.parquet.write_table(pyarrow.table(columns, COLUMNS), path)
