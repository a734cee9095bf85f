"""The law of the house: a room imports from those below it, and nothing imports in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "keras_lodin"
# Each may import from those before it.
ROOMS = (
    *("utils", "metrics", "gradients", "report", "data", "models"),
    *("quotient", "export", "detectors", "training", "evaluation", "workflows"),
)


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path):
    """The package's modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in MODULES or node.module in MODULES:
                    yield whole if whole in MODULES else node.module


def room(module):
    return module.split(".")[1] if "." in module else None


def test_the_rooms_are_those_of_the_design():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == set(ROOMS)
    # What whoever writes a detector tests it with stands beside the rooms, above all of them.
    beside = {"__init__.py", "__main__.py", "testing.py"}
    assert {path.name for path in PACKAGE.glob("*.py")} == beside
    design = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    assert [
        name for line in design.splitlines() for name in ROOMS if line.startswith(f"| `{name}/`")
    ] == list(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_from_none_above_it(name):
    allowed = ROOMS[: ROOMS.index(name) + 1]
    upwards = [
        (module, other)
        for module, path in MODULES.items()
        if room(module) == name
        for other in imported(path)
        # The package itself re-exports: `from keras_lodin import metrics` names a room.
        if room(other) not in (None, *allowed)
    ]
    assert not upwards


def test_no_module_imports_in_a_circle():
    def outside(module, path):
        """What a module needs, but for the rooms that it is a part of."""
        return {other for other in imported(path) if not f"{module}.".startswith(f"{other}.")}

    TopologicalSorter({module: outside(module, path) for module, path in MODULES.items()}).prepare()


def test_no_import_is_for_the_type_checker_alone():
    """It hides a circle, or else it can stand with the others."""
    guarded = [name for name, path in MODULES.items() if "TYPE_CHECKING" in path.read_text()]
    assert not guarded
