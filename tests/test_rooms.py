"""The law of the house: a room imports from those below it, and nothing imports in a circle."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import import_floors  # noqa: E402

PACKAGE = ROOT / "keras_lodin"
MODULES = import_floors.modules()
# Each may import from those before it.
ROOMS = (
    *("utils", "metrics", "gradients", "report", "data", "models"),
    *("quotient", "export", "detectors", "training", "evaluation", "workflows"),
)
# What is made of TensorFlow: imported where it is Keras's backend, where an export has begun, or
# where a file is read by it.
TENSORFLOW = (
    *("gradients.tensorflow", "data.readers.tensorflow", "data.readers.tfrecords"),
    *("export.file_operations", "export.known_values", "export.reference"),
    *("export.resizing_matrices", "export.rounding_noise", "export.runnable"),
    *("export.saved_program", "export.serving_function", "export.tracing"),
    *("export.litert.conversion", "export.litert.rules", "export.litert.windows"),
    *("export.onnx.conversion", "export.onnx.known_sizes", "export.onnx.rules"),
    "export.onnx.weightless_graph",
)
# Beside the formats of `export`, these import one of them when they need it.
CHOOSE = ("gradients", "data.sources.tfds", "data.shards.tfrecord_shard", "testing")


@pytest.fixture(scope="module")
def imports():
    return import_floors.graph()


def test_the_rooms_are_those_of_the_design():
    # Not the folders of modules that have moved, where Python may have left its cache.
    folders = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/**/*.py")}
    assert folders == set(ROOMS)
    # What whoever writes a detector tests it with stands beside the rooms, above all of them;
    # `losses` is where Keras's users look for them.
    beside = {"__init__.py", "__main__.py", "losses.py", "testing.py"}
    assert {path.name for path in PACKAGE.glob("*.py")} == beside
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert [
        name for line in design.splitlines() for name in ROOMS if line.startswith(f"| `{name}/`")
    ] == list(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_from_none_above_it(name, imports):
    above = set(ROOMS[ROOMS.index(name) + 1 :]) | {"testing", "losses", "keras_lodin_cli"}
    upwards = [
        (module, other)
        for module, others in imports.items()
        if import_floors.room(module) == name
        for other in others
        if import_floors.room(other) in above
    ]
    assert not upwards


def test_no_module_imports_in_a_circle(imports):
    assert import_floors.circle(imports) == []


def test_a_circle_would_be_found():
    assert import_floors.circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    heights = import_floors.floors({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    assert heights == {"a": 3, "b": 2, "c": 1}


def test_no_import_is_for_the_type_checker_alone():
    """It hides a circle, or else it can stand with the others."""
    guarded = [name for name, path in MODULES.items() if "TYPE_CHECKING" in path.read_text()]
    assert not guarded


def is_of_tensorflow(name):
    name = name.removeprefix("keras_lodin.")
    return any(f"{name}.".startswith(f"{one}.") for one in ("tensorflow", *TENSORFLOW))


def naming_tensorflow(statements):
    """The modules of others that import TensorFlow, or what is made of it, among statements."""

    def names(path):
        for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    return {
        module.removeprefix("keras_lodin.")
        for module, path in MODULES.items()
        if module.startswith("keras_lodin.")
        and not is_of_tensorflow(module)
        and any(map(is_of_tensorflow, names(path)))
    }


def test_tensorflow_is_imported_where_the_design_says_and_nowhere_else():
    found = naming_tensorflow(ast.walk)
    assert found >= set(CHOOSE)
    assert not {name for name in found - set(CHOOSE) if not name.startswith("export.")}


def test_nothing_imports_tensorflow_before_it_is_needed():
    """On JAX and PyTorch the package is there without it."""
    assert not naming_tensorflow(lambda tree: tree.body)


def test_what_is_made_of_tensorflow_is_listed_once_and_exists():
    known = {name.removeprefix("keras_lodin.") for name in MODULES}
    assert not set(TENSORFLOW) - known
    assert len(set(TENSORFLOW)) == len(TENSORFLOW)


# What a backend does is behind one seam; a reader, an export and a list of versions go by its name.
ASKING = {
    *("gradients", "data.readers", "export.formats", "export.other_process", "utils.versions"),
}


def test_nothing_else_asks_which_backend_runs():
    asking = {
        module.removeprefix("keras_lodin.")
        for module, path in MODULES.items()
        if module.startswith("keras_lodin.") and "backend.backend()" in path.read_text()
    }
    assert asking == ASKING


def test_what_scores_an_exported_file_imports_no_keras():
    """Beside Python's own and NumPy's, the import of Keras takes ten times as long as the rest."""
    collections = {"keras_lodin", "keras_lodin.workflows"}
    waiting = ["keras_lodin.workflows.score", "keras_lodin.export.onnx.model"]
    seen, keras = set(), []
    while waiting:
        module = waiting.pop()
        if module in seen | collections:
            continue
        seen.add(module)
        waiting.append(module.rpartition(".")[0])
        for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            waiting += [name for name in names if name in MODULES]
            keras += [module for name in names if name.split(".")[0] in ("keras", "tensorflow")]
    assert not keras
    assert {"keras_lodin.export.formats", "keras_lodin.data.readers"} < seen


def test_the_package_imports_keras_before_all_of_its_own():
    """By then it is settled who reads data."""
    imports = [
        node
        for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    own = [getattr(node, "module", None) or "" for node in imports]
    first = next(place for place, name in enumerate(own) if name.startswith("keras_lodin"))
    assert any(alias.name == "keras" for node in imports[:first] for alias in node.names)
