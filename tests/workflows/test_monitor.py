"""Logged scores against the detector that gave them."""

import csv
import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import keras_lodin
from keras_lodin.export.metadata import artifact_metadata
from keras_lodin.workflows import monitor_scores
from keras_lodin.workflows.scoring import ScoreFolder
from keras_lodin_cli.main import main
from tests import networks


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A calibrated detector as a file, and what it gives for data like its calibration data."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    found = keras_lodin.MaxLogitDetector(networks.dense())
    found.calibrate(rng.normal(size=(500, 10)).astype("float32"), tpr=0.9)
    path = tmp_path_factory.mktemp("detector") / "detector.keras"
    found.save(path)
    scores = found.predict(rng.normal(size=(900, 10)).astype("float32"), verbose=0)["score"]
    return path, found, scores


def logged(path, detector, scores, times=None):
    """A CSV file as `keras-lodin score` writes it, with a column for the time if it is given."""
    p_values = np.asarray(detector.p_value(scores))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "score", "is_ood", "p_value", *(["time"] if times else [])])
        for number, (score, p_value) in enumerate(zip(scores, p_values, strict=True)):
            row = [f"{number}.png", score, bool(score <= detector.threshold), p_value]
            writer.writerow([*row, *([times[number]] if times else [])])
    return path


def shard_folder(path, found, shards, **changes):
    """A folder of shards as `keras-lodin score` writes it."""
    folder = ScoreFolder(path / "shards")
    plan = {"inputs": [], "shard_size": 450, "shards": len(shards), "images": 900, "sha256": ""}
    artifact = {**artifact_metadata(found), "sha256": "", **changes}
    folder.begin(artifact, {"format": "csv"}, plan)
    for number, scores in enumerate(shards):
        rows = {
            "key": [f"{number}.png" for number in range(len(scores))],
            "class_name": [""] * len(scores),
            "class": np.zeros(len(scores), "int32"),
            "score": scores,
            "is_ood": scores <= found.threshold,
            "p_value": np.asarray(found.p_value(scores)),
        }
        folder.write(f"{number:05}", rows, [], {"not_a_number": 0}, "csv")
    return folder


def test_windows_of_equal_size_go_across_files(detector, tmp_path):
    path, found, scores = detector
    for number, part in enumerate(np.split(scores, [100, 450])):
        logged(tmp_path / "scores" / f"0000{number}.csv", found, part)
    whole = logged(tmp_path / "whole.csv", found, scores)
    monitoring = monitor_scores(tmp_path / "scores", path, window=200)
    assert [(one.name, one.count) for one in monitoring.windows] == [
        *(("1 to 200", 200), ("201 to 400", 200), ("401 to 600", 200), ("601 to 800", 200)),
        ("801 to 900", 100),
    ]
    flagged = (scores <= found.threshold)[:200].mean()
    assert monitoring.windows[0].flagged == pytest.approx(flagged)
    assert monitoring.expected == pytest.approx(0.1)
    assert monitor_scores(whole, path, window=200) == monitoring
    shards = shard_folder(tmp_path, found, np.split(scores, [100, 100, 450]))
    assert monitor_scores(shards.path, path, window=200) == monitoring
    assert monitoring.first_alarm is None
    assert monitoring.verdict.startswith("No alarm: 900 inputs in 5 windows")


def test_a_change_is_told_of_on_a_page_and_in_json(detector, tmp_path):
    path, found, scores = detector
    log = logged(tmp_path / "log.csv", found, np.concatenate([scores, np.sort(scores)[:200]]))
    monitoring = monitor_scores(log, path, window=100)
    assert monitoring.first_alarm is not None
    assert monitoring.first_alarm.name in ("901 to 1,000", "1,001 to 1,100")
    monitoring.save(tmp_path / "out", command="keras-lodin monitor log.csv")
    document = json.loads((tmp_path / "out" / "monitoring.json").read_text())
    assert document["alarm"] is True
    assert document["first_alarm"] == monitoring.first_alarm.name
    assert len(document["windows"]) == 11
    page = (tmp_path / "out" / "monitoring.html").read_text()
    assert "Alarm since window" in page
    assert "keras-lodin monitor log.csv" in page
    assert monitoring.table().columns[3].header == "so many by chance"


def test_windows_are_made_by_time(detector, tmp_path):
    path, found, scores = detector
    # Sunday evening, Monday morning.
    begin = np.datetime64("2026-03-01T20:00:00")
    times = [str(begin + np.timedelta64(30 * number, "s")) for number in range(900)]
    for number, part in enumerate(np.split(np.arange(900), [333])):
        logged(tmp_path / f"{number}.csv", found, scores[part], [times[place] for place in part])
    names = {
        every: [
            (one.name, one.count)
            for one in monitor_scores(tmp_path, path, time="time", every=every).windows
        ]
        for every in ("day", "week", "month")
    }
    assert names["day"] == [("2026-03-01", 480), ("2026-03-02", 420)]
    assert names["week"] == [("2026-02-23", 480), ("2026-03-02", 420)]
    assert names["month"] == [("2026-03", 900)]
    hours = monitor_scores(tmp_path, path, time="time", every="hour").windows
    assert [(one.name, one.count) for one in hours[:2]] == [
        *(("2026-03-01T20", 120), ("2026-03-01T21", 120)),
    ]
    logged(tmp_path / "2.csv", found, scores[:2], [times[0], times[1]])
    with pytest.raises(ValueError, match="in the order of their times"):
        monitor_scores(tmp_path, path, time="time")
    with pytest.raises(ValueError, match="columns p_value, is_ood, hour"):
        monitor_scores(tmp_path, path, time="hour")


def test_parquet_files_are_read_too(detector, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    path, found, scores = detector
    table = pyarrow.table(
        {
            "p_value": np.asarray(found.p_value(scores)),
            "is_ood": scores <= found.threshold,
        }
    )
    parquet.write_table(table, tmp_path / "rows.parquet")
    expected = monitor_scores(logged(tmp_path / "log" / "1.csv", found, scores), path, window=300)
    assert monitor_scores(tmp_path, path, window=300) == expected


@pytest.mark.parametrize("words", [("TRUE", "FALSE"), ("true", "false"), ("1", "0")])
def test_verdicts_count_however_a_program_wrote_them(detector, tmp_path, words):
    path, found, scores = detector
    log = logged(tmp_path / "log.csv", found, scores)
    expected = monitor_scores(log, path)
    text = log.read_text().replace(",True,", f",{words[0]},").replace(",False,", f",{words[1]},")
    log.write_text(text)
    assert monitor_scores(log, path) == expected
    assert expected.windows[0].flagged > 0


def test_a_spreadsheets_mark_is_no_part_of_the_first_columns_name(detector, tmp_path):
    path, found, scores = detector
    times = [f"2026-03-{1 + number // 450:02}T12:00:00" for number in range(900)]
    log = logged(tmp_path / "log.csv", found, scores, times)
    expected = monitor_scores(log, path, time="time")
    rows = [line.split(",") for line in log.read_text().splitlines()]
    log.write_text("\n".join(",".join(row[::-1]) for row in rows), encoding="utf-8-sig")
    assert monitor_scores(log, path, time="time") == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",False,", ",,"), "True or False.*Received: '' in .*row 1"),
        (lambda text: text.replace(",False,", ",no,"), "True or False.*Received: 'no' in .*log"),
        (lambda text: text.replace(",False,0", ",False,about 0"), "must hold numbers.*log.*about"),
        (lambda text: text.replace("0.png", "x" * 200_000), "CSV file in UTF-8.*log.*131072"),
        (lambda text: text.replace("2026", ""), "times in ISO 8601.*Received: '-03-01"),
        (lambda text: text.replace("2026-03-01T12:00:00", ""), "times in ISO 8601.*Received: ''"),
        (lambda text: text.replace("2026-03-01T12:00:00", "NaT"), "times in ISO.*Received: 'NaT'"),
        (lambda text: text.replace("2026-03-01T12:00:00", "1772366400"), "ISO.*'1772366400'"),
    ],
)
def test_damaged_rows_are_named_and_not_counted(detector, tmp_path, change, message):
    path, found, scores = detector
    log = logged(tmp_path / "log.csv", found, scores[:9], ["2026-03-01T12:00:00"] * 9)
    log.write_text(change(log.read_text()))
    with pytest.raises(ValueError, match=message):
        monitor_scores(log, path, time="time")


def test_what_is_no_text_is_refused_by_its_name(detector, tmp_path):
    (tmp_path / "detector.onnx").write_bytes(b"\x08\xd6")
    with pytest.raises(ValueError, match=r"CSV file in UTF-8.*detector\.onnx"):
        monitor_scores(tmp_path / "detector.onnx", detector[0])


def test_a_damaged_parquet_file_is_named(detector, tmp_path):
    (tmp_path / "scores.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"whole Parquet file.*scores\.parquet"):
        monitor_scores(tmp_path / "scores.parquet", detector[0])


def test_what_cannot_be_monitored_is_refused(detector, tmp_path):
    path, found, scores = detector
    log = logged(tmp_path / "log.csv", found, scores)
    text = log.read_text().splitlines()
    (tmp_path / "empty.csv").write_text("\n".join([text[0], text[1].rsplit(",", 1)[0] + ","]))
    (tmp_path / "none.csv").write_text(text[0] + "\n")
    other = keras_lodin.MaxLogitDetector(networks.dense())
    other.save(tmp_path / "uncalibrated.keras")
    other.calibrate(np.random.default_rng(1).normal(size=(331, 10)).astype("float32"))
    other.save(tmp_path / "other.keras")
    networks.dense().save(tmp_path / "classifier.keras")
    shards = shard_folder(tmp_path, found, [scores])
    with pytest.raises(ValueError, match="have no times"):
        monitor_scores(shards.path, path, time="time")
    moved = shard_folder(tmp_path / "moved", found, [scores], threshold=1.0, detector="ODIN")
    message = f"detector is 'ODIN' there.*threshold is 1.0 there and {found.threshold} here \\("
    with pytest.raises(ValueError, match=message):
        monitor_scores(moved.path, path)
    with pytest.raises(ValueError, match="p_value_count is 500 there and 331 here"):
        monitor_scores(shards.path, tmp_path / "other.keras")
    (tmp_path / "folder").mkdir()
    for given, reference, message in (
        (tmp_path / "empty.csv", path, "Rows without a p-value.*row 1"),
        (tmp_path / "none.csv", path, "no rows to monitor"),
        (log, tmp_path / "uncalibrated.keras", "calibrated detector.*calibrate it first"),
        (log, tmp_path / "classifier.keras", "it is a classifier"),
        (log, tmp_path / "other.keras", "same detector with the same calibration"),
    ):
        with pytest.raises(ValueError, match=message):
            monitor_scores(given, reference)
    for given in ("nowhere", "folder"):
        with pytest.raises(FileNotFoundError, match="scores"):
            monitor_scores(tmp_path / given, path)
    with pytest.raises(ValueError, match="`every` must be one of hour"):
        monitor_scores(log, path, every="year")
    with pytest.raises(ValueError, match="`window` must be"):
        monitor_scores(log, path, window=0)


def test_the_command_prints_windows_and_verdict_and_writes_the_page(detector, tmp_path):
    path, found, scores = detector
    log = str(logged(tmp_path / "log.csv", found, scores))
    given = ["monitor", log, "--reference", str(path), "--window", "450"]
    shown = CliRunner().invoke(main, [*given, "--output", str(tmp_path / "out")])
    assert shown.exit_code == 0, shown.output
    assert "1 to 450" in shown.output
    assert "No alarm: 900 inputs in 2 windows" in shown.output
    assert (tmp_path / "out" / "monitoring.html").exists()
    printed = CliRunner().invoke(main, [*given, "--json"])
    assert json.loads(printed.stdout)["alarm"] is False
    wrong = CliRunner().invoke(main, ["monitor", log, "--reference", str(tmp_path / "no.keras")])
    assert wrong.exit_code != 0
    assert "Traceback" not in wrong.output
