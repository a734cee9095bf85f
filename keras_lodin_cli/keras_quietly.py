"""Keras and its backend, without what TensorFlow says of itself."""

from __future__ import annotations

import os
import sys


def import_keras_quietly() -> None:
    """Imports Keras without notes of its backend that would bury the command's answer.

    TensorFlow writes some of them before any setting of its own can stop it, so standard error is
    closed for the moment of the import.

    Raises:
        ImportError: if the backend is not installed, or there is no such backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        import keras
    except (ImportError, ValueError) as error:
        raise ImportError(
            "Keras cannot import its backend. The environment variable KERAS_BACKEND chooses one "
            "that is installed: tensorflow (which it is by itself), jax or torch. "
            f"Received: KERAS_BACKEND={os.environ.get('KERAS_BACKEND')!r}, {error}"
        ) from error
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silence)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")
