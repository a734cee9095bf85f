"""What help texts list, without the seconds that the import of Keras takes.

Everything that has a name registers itself with a decorator, which can be read in the code without
running it. Plug-ins can be anywhere and register what they like: where there is one, it is
imported, and the package with it.
"""

from __future__ import annotations

import ast
import math
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from keras_lodin_cli.keras_quietly import import_keras_quietly

# Where things of a kind are written, the registry there, and what registers them.
_KINDS = {
    "sources": ("keras_lodin.data.sources", "SOURCES", "SOURCES.register"),
    "networks": ("keras_lodin.models.networks", "NETWORKS", "NETWORKS.register"),
    "losses": ("keras_lodin.training.losses", "LOSSES", "LOSSES.register"),
    "detectors": ("keras_lodin.detectors", "DETECTORS", "DETECTORS.register"),
    "figures": ("keras_lodin.metrics", "FIGURES", "figure"),
    "formats": ("keras_lodin.export", "FORMATS", "FORMATS.register"),
}


def registered(kind: str) -> dict[str, str]:
    """Names and descriptions of what is registered, in order.

    Args:
        kind: one of `_KINDS`.
    """
    package, registry, decorator = _KINDS[kind]
    if entry_points(group="keras_lodin"):
        import_keras_quietly()
        there = getattr(import_module(package), registry)
        return {name: there.description(name) for name in there}
    return _written(package, decorator)


def with_listings(text: str) -> str:
    """A help text with `{sources}` and `{figures}` filled in."""
    if "{sources}" in text:
        lines = (f"  {description}" for description in registered("sources").values())
        listing = "\n".join(["\b", "Data is named by a specification:", *lines])
        text = text.replace("{sources}", listing)
    if "{figures}" in text:
        text = text.replace("{figures}", f"Measured are {', '.join(registered('figures'))}.")
    return text


def _written(package: str, decorator: str) -> dict[str, str]:
    """What the modules of a package register, as their code says."""
    found = []
    for path in place_of(package).rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        if f"{decorator}(" not in code:
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == decorator:
                name = ast.literal_eval(node.args[0])
                facts = {one.arg: one.value for one in node.keywords}
                position = ast.literal_eval(facts["position"]) if "position" in facts else math.inf
                description = facts.get("description", ast.Constant(""))
                found.append((position, name, ast.literal_eval(description)))
    return {name: description for _, name, description in sorted(found)}


def place_of(module: str) -> Path:
    """Where the code of a package is, or of a module in it without its `.py`."""
    top, *rest = module.split(".")
    spec = find_spec(top)  # of a package within it, this would import it
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], *rest)
