"""The example scripts and the notebook run."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from tests.test_documentation import blocks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def script(name):
    return runpy.run_path(str(EXAMPLES / "scripts" / f"{name}.py"))["main"]


def test_vectors_are_told_apart():
    evaluation = script("tabular")(1)
    assert evaluation.id["accuracy"] > 0.9
    assert {row["detector"] for row in evaluation.rows} == {"odin", "mahalanobis", "energy"}
    assert all(row["auroc"] > 0.8 for row in evaluation.rows)


def test_a_network_of_keras_applications_is_wrapped():
    scores = script("keras_applications")(weights=None)["score"]
    assert scores.shape == (4,)
    assert np.isfinite(scores).all()


def test_a_detector_of_ones_own_is_saved_exported_and_evaluated(tmp_path):
    evaluation = script("custom_detector")(tmp_path)
    assert {row["detector"] for row in evaluation.rows} == {"flatness", "msp"}


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


@pytest.fixture(scope="module")
def notebook():
    text = (EXAMPLES / "notebook" / "from_digits_to_a_served_detector.ipynb").read_text()
    return json.loads(text)


def code_of(notebook):
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def test_the_notebook_is_the_tutorial(notebook):
    tutorial = [code.strip() for language, code, *_ in blocks("docs/tutorial.md")]
    assert [cell.strip() for cell in code_of(notebook)] == tutorial


def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in code_of(notebook):
        exec(compile(cell, "notebook", "exec"), names)
    assert (tmp_path / "detector.onnx").exists()
