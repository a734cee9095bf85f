"""TensorFlow, without what it says of itself."""

from __future__ import annotations

import os
import sys


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without the notes on itself that would bury the command's answer.

    It writes some of them before any setting of its own can stop it, so standard error is closed
    for the moment of the import. A failing import still raises its own error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        import tensorflow
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silence)
    tensorflow.get_logger().setLevel("ERROR")
