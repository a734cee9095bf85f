"""The process in which TensorFlow exports a detector of another backend."""

from __future__ import annotations

import importlib
import pickle
import signal
import sys
import warnings
from pathlib import Path

import keras

from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.formats import write_by_tensorflow
from keras_lodin.export.other_process import (
    ANSWER_FILE,
    DETECTOR_FILE,
    REQUEST_FILE,
    Answer,
    Request,
)
from keras_lodin.models.loading import read


def main(folder: str) -> None:
    """Does what the request in a folder says, and leaves an answer there."""
    # What it has begun is cleared up if it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    place = Path(folder)
    request: Request = pickle.loads((place / REQUEST_FILE).read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _export(request, place / DETECTOR_FILE)
            answer = Answer()
        except Exception as error:  # for the other process to raise
            cause = error.__cause__
            limit = cause.parts if isinstance(cause, FormatLimitError) else None
            answer = Answer(_plain(error), limit)
    (place / ANSWER_FILE).write_bytes(pickle.dumps(answer))


def _export(request: Request, path: Path) -> None:
    for name, value in request.keras_settings.items():
        getattr(keras.config, f"set_{name}")(value)
    detector = _detector(request, path)
    write_by_tensorflow(
        detector,
        request.path,
        request.format,
        verbose=request.verbose,
        recorded=request.recorded,
        **request.options,
    )


def _detector(request: Request, path: Path) -> keras.Model:
    """The detector out of the file."""
    # This file was written a moment ago, by whoever wants it read.
    keras.config.enable_unsafe_deserialization()
    try:
        for module in request.modules:
            importlib.import_module(module)
        return read(path)
    except Exception as error:  # of modules of a user's, of any kind
        raise ValueError(
            "The detector cannot be made again with TensorFlow, in the process that exports it. "
            "Expected layers that Keras runs on every backend, and classes of your own in modules "
            f"that can be imported. Received: {type(error).__name__}: {error}"
        ) from error


def _plain(error: Exception) -> Exception:
    """An error of a class that Python itself has, to be raised in another process."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    kinds = (ValueError, TypeError, ImportError, OSError)
    kind = next((kind for kind in kinds if isinstance(error, kind)), None)
    if kind is None:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return kind(str(error))
