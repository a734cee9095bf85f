"""What is installed is what was built: from the wheel, in an environment of its own."""

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import metadata, requires
from pathlib import Path

import pytest

from tests.test_documentation import blocks

ROOT = Path(__file__).resolve().parents[1]


def test_the_extras_that_the_docs_name_exist():
    assert {"dev", "docs"} <= set(metadata("keras-lodin").get_all("Provides-Extra"))


# What is for TensorFlow alone, and TensorFlow.
FOR_TENSORFLOW = {"tensorflow", "tensorflow-datasets", "importlib_resources", "tf2onnx"}
WITHOUT_TENSORFLOW = ROOT / "requirements" / "without-tensorflow.txt"


def test_the_requirements_without_tensorflow_are_those_of_the_package():
    def parsed(lines):
        """Names with the sets of bounds, in whatever order a builder wrote them."""
        pairs = (re.fullmatch(r"([\w-]+)(.*)", line.replace(" ", "")).groups() for line in lines)
        return {name: set(bounds.split(",")) for name, bounds in pairs}

    needed = parsed(line for line in requires("keras-lodin") if "extra ==" not in line)
    text = WITHOUT_TENSORFLOW.read_text(encoding="utf-8")
    written = parsed(line for line in text.splitlines() if not line.startswith("#"))
    assert needed.keys() - written.keys() == FOR_TENSORFLOW
    assert written == {name: needed[name] for name in written}


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A wheel and a source distribution, checked by twine."""
    folder = tmp_path_factory.mktemp("dist")
    python = _environment(folder / "tools")
    subprocess.run([python, "-m", "pip", "install", "-q", "build", "twine"], check=True)
    subprocess.run([python, "-m", "build", "-o", folder / "dist", ROOT], check=True)
    files = sorted((folder / "dist").iterdir())
    subprocess.run([python, "-m", "twine", "check", "--strict", *files], check=True)
    return {file.suffix: file for file in files}


def _environment(folder):
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin" / "python"


@pytest.mark.slow
def test_the_wheel_holds_what_is_no_module_too(dist):
    names = zipfile.ZipFile(dist[".whl"]).namelist()
    assert {"keras_lodin/py.typed", "keras_lodin/report/page.html"} <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/", "examples/")) for name in names)


@pytest.mark.slow
def test_the_tutorial_runs_from_the_wheel_alone(dist, tmp_path):
    python = _environment(tmp_path / "environment")
    wanted = ["-c", ROOT / "constraints.txt", dist[".whl"]]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    tutorial = "\n".join(code for _, code, *_ in blocks("docs/tutorial.md"))
    (tmp_path / "tutorial.py").write_text(tutorial)
    done = subprocess.run(
        [python, "tutorial.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert re.search(r"\d+% found out by the file alone", done.stdout)
    assert (tmp_path / "results" / "report.html").exists()
    command = tmp_path / "environment" / "bin" / "keras-lodin"
    for start in ([command], [python, "-m", "keras_lodin"]):
        shown = subprocess.run([*start, "--help"], capture_output=True, text=True, check=True)
        assert "quickstart" in shown.stdout


# A training with the quotient, a detector, a report, and the refusal of what needs TensorFlow.
WITHOUT_TENSORFLOW_SCRIPT = """
import sys
import keras
import keras_lodin
from keras_lodin import workflows
assert "tensorflow" not in sys.modules
run = workflows.train("digits:0-6", "small_convnet", "run", gq_weight=0.01, epochs=4, verbose=0)
detector, tuning = workflows.tune_model(run, "digits:0-6", "detector.keras")
evaluation = workflows.evaluate_models(["detector.keras"], "digits:0-6", ["digits:7-9"])
evaluation.save("results")
try:
    detector.export("artifact")
except ImportError as error:
    print(error)
print(evaluation.to_dict()["versions"])
"""


@pytest.mark.slow
def test_the_package_works_without_tensorflow(dist, tmp_path):
    python = _environment(tmp_path / "environment")
    install = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*install, "--no-deps", dist[".whl"]], check=True)
    subprocess.run([*install, "-r", WITHOUT_TENSORFLOW, "jax"], check=True)
    done = subprocess.run(
        [python, "-c", WITHOUT_TENSORFLOW_SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install tensorflow" in done.stdout
    assert (tmp_path / "results" / "report.html").exists()
