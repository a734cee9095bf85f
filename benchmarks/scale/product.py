"""Modules of keras_lodin that are needed where TensorFlow is not installed.

`import keras_lodin` asks for an installed package and for what reads data. `utils.files`,
`metrics.figures` and `models` need no more than Keras: there they are imported as parts of a
package of that name without its beginning, so that there is one definition of a figure.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).resolve().parents[2] / "keras_lodin"


def load(name: str) -> ModuleType:
    """A module of the package that needs no TensorFlow, with or without it."""
    if importlib.util.find_spec("tensorflow") is None and "keras_lodin" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
        package = ModuleType("keras_lodin")
        package.__path__ = [str(_PACKAGE)]
        sys.modules["keras_lodin"] = package
    return importlib.import_module(f"keras_lodin.{name}")
