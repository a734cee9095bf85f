"""The example scripts and the notebook run."""

import copy
import pickle
import re
import runpy
from pathlib import Path

import nbformat
import numpy as np
import pytest

import keras_lodin
from keras_lodin.workflows.scoring import ScoreFolder
from tests.test_documentation import blocks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def script(name):
    return runpy.run_path(str(EXAMPLES / "scripts" / f"{name}.py"))["main"]


@pytest.mark.slow
def test_vectors_are_told_apart():
    evaluation = script("tabular")(1)
    assert evaluation.id["accuracy"] > 0.9
    assert {row["detector"] for row in evaluation.rows} == {
        "odin",
        "odin (defaults)",
        "mahalanobis",
        "energy",
    }
    assert all(row["auroc"] > 0.8 for row in evaluation.rows)


@pytest.mark.slow
def test_a_network_of_keras_applications_is_wrapped():
    scores = script("keras_applications")(weights=None)["score"]
    assert scores.shape == (4,)
    assert np.isfinite(scores).all()


@pytest.mark.slow
def test_a_detector_of_ones_own_is_saved_exported_and_evaluated(tmp_path):
    evaluation = script("custom_detector")(tmp_path)
    assert {row["detector"] for row in evaluation.rows} == {"flatness", "msp"}


@pytest.mark.slow
def test_a_pretrained_network_is_fine_tuned_and_compared(shared_data, tmp_path):
    evaluation = script("fine_tune_pretrained")(
        [
            str(shared_data / "models" / "cifar10_resnet20.keras"),
            *("--id", "tfds:cifar10_jpeg75:train[:64]", "--test", "tfds:cifar10_jpeg75:test[:100]"),
            *("--ood", "tfds:dtd10_jpeg75:test[:60]", "--data-dir", str(shared_data / "tfds")),
            *("--output", str(tmp_path / "out"), "--batch-size", "32"),
        ]
    )
    assert {row["model"] for row in evaluation.rows} == {"cifar10_resnet20", "plain", "gq"}
    assert (tmp_path / "out" / "results" / "report.html").exists()


NOTEBOOK = EXAMPLES / "notebook" / "from_digits_to_a_served_detector.ipynb"


def code_of(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_the_tutorial():
    tutorial = [code.strip() for language, code, *_ in blocks("docs/tutorial.md")]
    assert code_of(nbformat.read(NOTEBOOK, as_version=4)) == tutorial


@pytest.mark.slow
def test_the_notebook_runs_in_a_kernel_and_prints_what_it_shows(tmp_path):
    shown = nbformat.read(NOTEBOOK, as_version=4)
    repeated = copy.deepcopy(shown)
    runpy.run_path(str(EXAMPLES.parent / "benchmarks" / "notebook.py"))["run"](repeated, tmp_path)
    assert (tmp_path / "detector.onnx").exists()
    # Figures differ between processors; what is said about them does not.
    assert words_of(repeated) == words_of(shown)


def words_of(notebook):
    printed = [
        [output.get("text") or output["data"]["text/plain"] for output in cell.get("outputs", [])]
        for cell in notebook.cells
    ]
    return [re.findall("[A-Za-z_]{2,}", " ".join(texts)) for texts in printed]


def test_shards_are_scored_out_of_the_batches_of_spark(detector_file, tmp_path):
    pa = pytest.importorskip("pyarrow")
    score = runpy.run_path(str(EXAMPLES / "scripts" / "score_on_spark.py"))["score_batches"]
    shards = keras_lodin.plan(["digits:0-1"], 150)
    batches = [
        pa.RecordBatch.from_pylist([{"shard": pickle.dumps(one)} for one in some])
        for some in (shards[:2], shards[2:])
    ]
    figures = [
        row
        for batch in score(batches, detector_file, tmp_path / "out")
        for row in batch.to_pylist()
    ]
    assert [row["shard"] for row in figures] == ["00000", "00001", "00002"]
    assert sum(row["scored"] for row in figures) == 360
    assert ScoreFolder(tmp_path / "out").done() == ["00000", "00001", "00002"]


@pytest.mark.slow
def test_spark_itself_scores_shards(detector_file, tmp_path):
    sql = pytest.importorskip("pyspark.sql")
    script = runpy.run_path(str(EXAMPLES / "scripts" / "score_on_spark.py"))
    spark = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = spark.getOrCreate()
    try:
        rows = script["main"](session, detector_file, tmp_path / "out", ["digits:0-1"], 150)
    finally:
        session.stop()
    assert sorted(row["shard"] for row in rows) == ScoreFolder(tmp_path / "out").done()
    assert sum(row["scored"] for row in rows) == 360
