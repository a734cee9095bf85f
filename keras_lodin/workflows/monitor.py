"""Logged scores against the detector that gave them: has traffic changed?"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.detectors import Detector, registry
from keras_lodin.evaluation.monitoring import Monitoring
from keras_lodin.export.metadata import artifact_metadata
from keras_lodin.metrics.monitor import Monitor
from keras_lodin.models import load
from keras_lodin.utils.numbers import check_whole
from keras_lodin.utils.parquet_file import parquet_file
from keras_lodin.workflows.scoring import ScoreFolder

# The periods that rows can be divided into by their time, as numpy calls them.
PERIODS = {"hour": "h", "day": "D", "week": "W", "month": "M"}
# What p-values and verdicts depend on, of what a folder of scores says of its artifact.
_CALIBRATION = ("detector", "threshold", "p_value_count")
# How programs write a verdict: Python and spreadsheets, in whatever case, and databases.
_VERDICTS = {"true": True, "false": False, "1": True, "0": False}
# How a date begins. numpy takes other things for times too: seconds since 1970 for a year.
_DATE = re.compile(r"\d{4}-\d\d")

_Columns = dict[str, np.ndarray]


def monitor_scores(
    scores: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    *,
    window: int = 1000,
    time: str | None = None,
    every: str = "day",
    false_alarm_rate: float = 0.01,
    seed: int = 0,
) -> Monitoring:
    """Watches logged scores for a change, window by window, with a stated false-alarm rate.

    Started again on more rows of the same stream, with the same settings, it continues: what it
    says of the earlier rows stays, and the false-alarm rate is that of all starts together.

    Args:
        scores: what `keras-lodin score --output` wrote: a folder of shards, of which those are read
            that are done, or a CSV file; or a folder of CSV or Parquet files with the columns
            `p_value` and `is_ood`, which are read in the order of their names. Rows are in the
            order of traffic.
        reference: the `.keras` detector that gave the scores, with the same calibration.
        window: inputs in a window; the last one may have fewer.
        time: name of a column with the time of each input, ISO 8601, by which windows are made
            instead, for files that have one; None for windows of equal size.
        every: how long a window then is: "hour", "day", "week" or "month", in the time zone of the
            column.
        false_alarm_rate: the probability that traffic like the calibration data ever raises an
            alarm.
        seed: of the lots that break ties.

    Returns:
        a `Monitoring`.

    Raises:
        ValueError: for a reference that is no calibrated detector, scores without p-values or with
            those of another detector or calibration, rows that are not in the order of their time,
            or settings out of range.
        FileNotFoundError: if there are no scores, or no reference.

    Example:
    ```python
    found = monitor_scores("scores", "detector.keras", window=1000)
    print(found.verdict)
    found.save("monitoring")
    ```
    """
    check_whole("window", window, "at least 1", most=10_000_000)
    if every not in PERIODS:
        raise ValueError(f"`every` must be one of {', '.join(PERIODS)}. Received: every={every!r}")
    detector = load(reference)
    if not isinstance(detector, Detector) or detector.p_value_count is None:
        what = "calibrate it first" if isinstance(detector, Detector) else "it is a classifier"
        raise ValueError(
            "The reference must be a calibrated detector, whose calibration scores traffic is "
            f"compared with: {what}. Received: reference={str(reference)!r}"
        )
    level = float(detector.p_value([detector.threshold])[0]) if detector.calibrated else None
    monitor = Monitor(
        detector.possible_p_values,
        detector.p_value_count,
        level,
        false_alarm_rate=false_alarm_rate,
        seed=seed,
    )
    path = Path(scores)
    folder = ScoreFolder(path)
    if folder.begun:
        _check_calibration(folder, detector)
        if time is not None:
            raise ValueError(
                "The rows of a folder of shards have no times. Leave `time` away, or monitor files "
                f"that have such a column. Received: time={time!r}, scores={str(path)!r}"
            )
        rows = _of_shards(folder)
    else:
        rows = _rows(_files(path), () if time is None else (time,))
    parts = _of_equal_size(rows, window) if time is None else _by_time(rows, time, PERIODS[every])
    for name, columns in parts:
        monitor.update(columns["p_value"], columns["is_ood"], name)
    if not monitor.windows:
        raise ValueError(f"There are no rows to monitor. Received: scores={str(scores)!r}")
    return Monitoring(
        windows=tuple(monitor.windows),
        false_alarm_rate=monitor.false_alarm_rate,
        expected=None if detector.tpr is None else 1.0 - detector.tpr,
        calibration_count=detector.p_value_count,
        detector=registry.name_of(detector),
    )


def _check_calibration(folder: ScoreFolder, detector: Detector) -> None:
    """Raises ValueError for scores that are not of this detector as it is calibrated."""
    there, expected = folder.manifest()["artifact"], artifact_metadata(detector)
    different = [
        f"{name} is {there.get(name)!r} there and {expected[name]!r} here"
        for name in _CALIBRATION
        if there.get(name) != expected[name]
    ]
    if different:
        raise ValueError(
            "The scores must be of the reference, with its calibration and threshold: give the "
            "detector that was exported, or score again. "
            f"Received: {'; '.join(different)} (scores={str(folder.path)!r})"
        )


def _of_shards(folder: ScoreFolder) -> Iterator[_Columns]:
    """p-values and verdicts, shard by shard."""
    for name in folder.done():
        rows = folder.rows(name, ("p_value", "is_ood"))
        yield {"p_value": rows["p_value"].astype(np.float64), "is_ood": rows["is_ood"]}


def _files(path: Path) -> list[Path]:
    """The files of rows, in order."""
    if path.is_file():
        return [path]
    if not path.exists():
        raise FileNotFoundError(f"There are no scores. Received: scores={str(path)!r}")
    found = sorted(
        file
        for file in path.glob("*")
        if file.suffix in (".csv", ".parquet") and not file.name.startswith(".")
    )
    if not found:
        raise FileNotFoundError(
            "Expected a folder with CSV or Parquet files of scores, as `keras-lodin score "
            f"--output` writes them. Received: scores={str(path)!r}"
        )
    return found


def _rows(files: Sequence[Path], others: Sequence[str]) -> Iterator[_Columns]:
    """p-values, verdicts and other columns, file by file."""
    names = ("p_value", "is_ood", *others)
    for file in files:
        columns = _parquet(file, names) if file.suffix == ".parquet" else _csv(file, names)
        values = columns["p_value"]
        empty = [value is None or value == "" for value in values]
        if any(empty):
            raise ValueError(
                "Rows without a p-value cannot be monitored: they are of a detector that is not "
                f"calibrated, or of an artifact from before there were p-values. Received: "
                f"{file}, row {empty.index(True) + 1}"
            )
        try:
            p_values = np.asarray(values, np.float64)
        except ValueError as error:
            raise ValueError(
                f"The column 'p_value' must hold numbers. Received: {file}, {error}"
            ) from error
        verdicts = [_VERDICTS.get(str(value).lower()) for value in columns["is_ood"]]
        if None in verdicts:
            row = verdicts.index(None)
            raise ValueError(
                "The column 'is_ood' must hold True or False, or 1 or 0. "
                f"Received: {columns['is_ood'][row]!r} in {file}, row {row + 1}"
            )
        yield {
            **{name: np.asarray(columns[name]) for name in others},
            "p_value": p_values,
            "is_ood": np.array(verdicts, bool),
        }


def _csv(file: Path, names: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    # A spreadsheet writes a mark before the first column's name.
    with file.open(encoding="utf-8-sig", newline="") as text:
        try:
            reader = csv.DictReader(text)
            _check_columns(file, names, reader.fieldnames or ())
            found: dict[str, list[Any]] = {name: [] for name in names}
            for row in reader:
                for name in names:
                    found[name].append(row[name])
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(
                "Expected a CSV file in UTF-8, as `keras-lodin score --output` writes it. "
                f"Received: {file}, {error}"
            ) from error
    return found


def _parquet(file: Path, names: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    with parquet_file(file) as opened:
        _check_columns(file, names, opened.schema_arrow.names)
        table = opened.read(list(names))
    return {name: table.column(name).to_pylist() for name in names}


def _check_columns(file: Path, names: Sequence[str], there: Sequence[str]) -> None:
    missing = [name for name in names if name not in there]
    if missing:
        raise ValueError(
            f"A file of scores must have the columns {', '.join(names)}. Received: {file} with "
            f"{', '.join(there) or 'none'}"
        )


def _of_equal_size(rows: Iterator[_Columns], size: int) -> Iterator[tuple[str, _Columns]]:
    """Windows of so many rows, named by their first and last."""
    waiting: list[_Columns] = []
    count = first = 0
    for columns in rows:
        while columns["p_value"].size:
            taken = min(size - count, columns["p_value"].size)
            waiting.append({name: values[:taken] for name, values in columns.items()})
            columns = {name: values[taken:] for name, values in columns.items()}
            count += taken
            if count == size:
                yield f"{first + 1:,} to {first + count:,}", _joined(waiting)
                waiting, first, count = [], first + count, 0
    if count:
        yield f"{first + 1:,} to {first + count:,}", _joined(waiting)


def _by_time(rows: Iterator[_Columns], column: str, period: str) -> Iterator[tuple[str, _Columns]]:
    """Windows of rows of one period, named by it."""
    waiting: list[_Columns] = []
    now = None
    for columns in rows:
        # A time zone plays no part: the clock of the column is what days are divided by.
        texts = [str(value)[:19] for value in columns[column]]
        try:
            for text in texts:
                if not _DATE.match(text):
                    raise ValueError(repr(text))
            times = np.array(texts, "datetime64[s]")
        except ValueError as error:
            raise ValueError(
                f"The column {column!r} must hold times in ISO 8601, as 2026-01-31T12:00:00. "
                f"Received: {error}"
            ) from error
        if period == "W":
            # numpy's weeks begin on Thursdays, as 1970 did.
            days = times.astype("datetime64[D]")
            periods = days - (days.astype(int) + 3) % 7
        else:
            periods = times.astype(f"datetime64[{period}]")
        late = np.flatnonzero(times[1:] < times[:-1])
        if late.size or (now is not None and periods.size and periods[0] < now):
            raise ValueError(
                "Rows must be in the order of their times. Received: "
                + (f"{times[late[0] + 1]} after {times[late[0]]}" if late.size else f"{times[0]}")
            )
        for begin in np.unique(periods):
            if now is not None and begin != now:
                yield str(now), _joined(waiting)
                waiting = []
            now = begin
            waiting.append({name: values[periods == begin] for name, values in columns.items()})
    if now is not None:
        yield str(now), _joined(waiting)


def _joined(parts: Sequence[_Columns]) -> _Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
