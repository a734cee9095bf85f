"""What stands beside the code is read by machines elsewhere: it is held to the code here."""

import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "path",
    [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / ".github").rglob("*.yml"))],
)
def test_files_for_the_forge_are_yaml(path):
    assert read(path)


def test_every_python_that_is_promised_is_tested():
    tested = read(".github/workflows/tests.yml")["jobs"]["newest"]["strategy"]["matrix"]["python"]
    named = [
        match[1]
        for line in PROJECT["classifiers"]
        if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]
    assert tested == named
    assert PROJECT["requires-python"] == f">={tested[0]}"


def test_workflows_run_what_the_makefile_has():
    targets = set(re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets.add(".venv/installed")
    for name in ("tests", "nightly"):
        for job in read(f".github/workflows/{name}.yml")["jobs"].values():
            commands = [step["run"] for step in job["steps"] if "run" in step]
            assert any(command.startswith("make ") for command in commands)
            for command in commands:
                if command.startswith("make "):
                    assert command.split()[-1] in targets


def test_pre_commit_runs_what_lint_does():
    rule = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [line.strip().removeprefix("$(BIN)/") for line in rule[1].splitlines()]
    (local,) = read(".pre-commit-config.yaml")["repos"]
    assert [hook["entry"] for hook in local["hooks"]] == commands


@pytest.mark.parametrize("python", ["3.11.0", "3.11.2", "3.11.7"])
def test_no_constraint_binds_a_python_that_the_release_does_not_take(python):
    """Debian 12 has 3.11.2: pip tried every release of everything before it gave up."""
    environment = {"python_version": "3.11", "python_full_version": python}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        pin, _, marker = line.partition(" ; ")
        if line.startswith("#") or not Marker(marker).evaluate(environment):
            continue
        try:
            found = importlib.metadata.distribution(pin.partition("==")[0])
        except importlib.metadata.PackageNotFoundError:
            continue
        taken = SpecifierSet(found.metadata.get("Requires-Python") or "")
        assert found.version != pin.partition("==")[2] or python in taken, line
