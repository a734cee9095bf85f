"""The package without Keras, for what needs none: the scores of an exported file."""

from __future__ import annotations

import mmap
import os
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec, module_from_spec
from pathlib import Path

# What these collect in their `__init__` is the whole package, Keras included.
_COLLECTIONS = ("keras_lodin", "keras_lodin.workflows")
# What runs a file, without Keras or TensorFlow; a SavedModel is TensorFlow's.
_RUNTIMES = {".onnx": "onnxruntime", ".tflite": "ai_edge_litert"}
# The input that is computed by Keras's backend, as the metadata of such a file name it.
_SIDE_INPUT = b'"complexity"'


def can_score(artifact: str, output: str | None) -> bool:
    """Whether image files can be scored without Keras: here, by this artifact, into this output.

    Not where it is there already, or where a plug-in may want it. A folder of scores takes data
    of every kind, some of which TensorFlow reads.

    Args:
        artifact: as `keras_lodin.workflows.score_images` takes it.
        output: so too.
    """
    runtime = _RUNTIMES.get(Path(artifact).suffix)
    return (
        runtime is not None
        and find_spec(runtime) is not None
        and not os.path.isdir(artifact)
        and (output is None or (output.endswith(".csv") and not os.path.isdir(output)))
        and not {"keras", *_COLLECTIONS} & sys.modules.keys()
        and not entry_points(group="keras_lodin")
        and not _takes_side_input(artifact)
    )


def leave_out_keras() -> None:
    """Lets single modules of the package be imported, without all that it collects beside them."""
    for name in _COLLECTIONS:
        spec = find_spec(name)
        assert spec is not None
        sys.modules[name] = module_from_spec(spec)


def _takes_side_input(artifact: str) -> bool:
    # What is no file, or an empty one, is refused in words later.
    if not os.path.isfile(artifact) or not os.path.getsize(artifact):
        return False
    with open(artifact, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(_SIDE_INPUT) >= 0
