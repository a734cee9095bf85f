"""Modules of keras_lodin that are needed where TensorFlow is not installed.

`import keras_lodin` imports TensorFlow. These two modules of it do not, and hold the definitions of
the figures and the way a file is written: they are loaded by their paths.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).resolve().parents[2] / "keras_lodin"


def _load(name: str) -> ModuleType:
    label = f"scale_product_{name}"
    specification = importlib.util.spec_from_file_location(label, _PACKAGE / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[label] = module
    specification.loader.exec_module(module)
    return module


files = _load("files")
metrics = _load("metrics")
