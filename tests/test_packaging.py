"""What is installed is what was built: from the wheel, in an environment of its own."""

import re
import subprocess
import sys
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest

from tests.test_documentation import blocks

ROOT = Path(__file__).resolve().parents[1]


def test_the_extras_that_the_docs_name_exist():
    assert {"dev", "docs"} <= set(metadata("keras-lodin").get_all("Provides-Extra"))


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
