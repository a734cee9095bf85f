"""How high the house stands: floors of imports, circles, folders, lines.

    python benchmarks/import_floors.py [ROOT]

Reads the code below ROOT (this repository) and prints one line of figures for the rooms of
keras_lodin, the longest way down through them, and one for its modules. A module stands one floor
above the highest that it imports, wherever in its file; a room likewise. What the package's own
`__init__` re-exports and the command line stand above the rooms. `tests/test_rooms.py` holds the
code to it.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("keras_lodin", "keras_lodin_cli")


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module below the packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules among `known` that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in known or node.module in known:
                    yield whole if whole in known else node.module


def graph(root: Path = ROOT) -> dict[str, set[str]]:
    """What each module imports, but for the folders that it is a part of."""
    known = modules(root)
    return {
        module: {
            other for other in imported(path, known) if not f"{module}.".startswith(f"{other}.")
        }
        for module, path in known.items()
    }


def room(module: str) -> str:
    """The folder or file at the top of keras_lodin that holds a module, or else its package."""
    parts = module.split(".")
    return parts[1] if parts[0] == "keras_lodin" and len(parts) > 1 else parts[0]


def rooms(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """What each room imports of others."""
    found: dict[str, set[str]] = {room(module): set() for module in imports}
    for module, others in imports.items():
        found[room(module)] |= {room(other) for other in others} - {room(module)}
    return found


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """A way of imports that ends where it began; empty if there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def floors(imports: Mapping[str, set[str]]) -> dict[str, int]:
    """The floor that each stands on, 1 for what imports none; without circles alone."""
    found: dict[str, int] = {}
    for name in TopologicalSorter(imports).static_order():
        found[name] = 1 + max((found[other] for other in imports.get(name, ())), default=0)
    return found


def way_down(imports: Mapping[str, set[str]], name: str) -> list[str]:
    """From a name to the ground by what it imports, the highest each time."""
    heights = floors(imports)
    way = [name]
    while imports[way[-1]]:
        way.append(max(imports[way[-1]], key=lambda other: heights[other]))
    return way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, nargs="?", default=ROOT)
    root = parser.parse_args().root
    texts = [path.read_text(encoding="utf-8") for path in modules(root).values()]
    of_modules = graph(root)
    inside = {room(m) for m in of_modules} - {"keras_lodin", "keras_lodin_cli", "__main__"}
    of_rooms = {
        name: others & inside for name, others in rooms(of_modules).items() if name in inside
    }
    for kind, imports in (("rooms", of_rooms), ("modules", of_modules)):
        if found := circle(imports):
            print(f"{len(imports)} {kind}, a circle: {' -> '.join(found)}")
            continue
        heights = floors(imports)
        highest = max(heights, key=lambda name: heights[name])
        print(f"{len(imports)} {kind} on {heights[highest]} floors, no circle")
        print(f"  {' -> '.join(way_down(imports, highest))}")
    lines = sum(text.count("\n") for text in texts)
    words = sum(len(re.findall(r"\bAny\b", text)) for text in texts)
    top = root / "keras_lodin"
    folders = len({path.relative_to(top).parts[0] for path in top.glob("*/**/*.py")})
    print(f"{folders} folders at the top, {lines:,} lines, the word `Any` {words:,} times")


if __name__ == "__main__":
    main()
