"""Modules that are imported for what they register: a folder's, and those of other packages."""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points

GROUP = "keras_lodin"


def import_folder(package: str, folders: Iterable[str]) -> None:
    """Imports every module of a package, so that a new one needs to be named nowhere.

    Args:
        package: its name, `__name__` within its `__init__`.
        folders: its `__path__`.
    """
    for module in pkgutil.iter_modules(folders, f"{package}."):
        import_module(module.name)


def import_plugins() -> None:
    """Imports what other packages name as entry points of the group `keras_lodin`.

    One that fails is warned of, and the others are there: it may belong to a package that nobody
    uses at the moment.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            import_module(entry.module)
        except Exception as error:  # it is somebody else's code
            warnings.warn(
                f"What {entry.name!r} adds to keras-lodin is not there, because its module cannot "
                "be imported. Update or uninstall the package that it belongs to. "
                f"Received: module={entry.module!r}, {type(error).__name__}: {error}",
                stacklevel=2,
            )
