"""Keras, imported at the first use of something of it.

An exported file is scored without Keras, whose import with its backend takes seconds. The modules
that this goes through, and that need Keras for other work, take it from here; all others import it
as everybody does.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class _Late:
    """A module that is imported when it is first asked for something."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


keras: Any = _Late("keras")
ops: Any = _Late("keras.ops")
