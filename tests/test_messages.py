"""Every message of the package to its user says what was received."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "keras_lodin"
# Reasons that a caller puts into a message of its own.
REASONS = ("data/specification.py", "export/onnx/rules/")
REASONED = ("parse", "parse_count")  # methods and functions of data sources
USER_ERRORS = {"ValueError", "TypeError", "FileNotFoundError"}
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not str(path.relative_to(PACKAGE)).startswith(REASONS)
]


def words(node):
    return " ".join(
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_errors_end_with_what_was_received(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    reasons = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name in REASONED
        for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in reasons:
            continue
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
            continue
        if getattr(node.exc.func, "id", "") not in USER_ERRORS:
            continue
        text = words(node.exc)
        # A message around another one has that one's end.
        wraps = isinstance(node.cause, ast.Name) and text.startswith("Data set")
        # Several messages may share their end, or a function makes them.
        shares = any(
            isinstance(part, ast.Name) and part.id == "received" for part in ast.walk(node)
        )
        made = bool(node.exc.args) and isinstance(node.exc.args[0], (ast.Call, ast.Name))
        assert wraps or shares or made or "Received" in text, f"line {node.lineno}: {text}"
