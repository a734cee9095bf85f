"""Modules of keras_lodin that are needed where TensorFlow is not installed.

`import keras_lodin` imports TensorFlow. Some modules of it do not, `files` and `metrics` among
them: they are loaded by their paths, so that there is one definition of a figure.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).resolve().parents[2] / "keras_lodin"


def load(name: str) -> ModuleType:
    """A module of the package that imports nothing of it."""
    label = f"scale_product_{name}"
    specification = importlib.util.spec_from_file_location(label, _PACKAGE / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[label] = module
    specification.loader.exec_module(module)
    return module
