"""Trained models from files, with errors that a stranger understands."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import keras

from keras_lodin.training import GQModel


def load(path: str | os.PathLike[str]) -> keras.Model:
    """A classifier or a detector from a `.keras` file.

    Args:
        path: a `.keras` file, or the folder of a finished training run. A `GQModel` gives the
            classifier inside.

    Returns:
        the `keras.Model`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a Keras model, or needs classes that are not registered.
    """
    path = Path(path)
    if (path / "model.keras").exists():
        path = path / "model.keras"
    if not path.exists():
        raise FileNotFoundError(
            "There is no model at that path. Expected a `.keras` file, or the folder of a finished "
            f"training run. Received: path={str(path)!r}"
        )
    if path.is_dir() or path.suffix != ".keras":
        raise ValueError(
            "A model must be a `.keras` file, as `model.save('name.keras')` writes it, or the "
            "folder of a finished training run, with `model.keras` in it. "
            f"Received: path={str(path)!r}"
        )
    if not zipfile.is_zipfile(path):
        # Keras says of it that there is no such file.
        raise ValueError(
            "The file is no `.keras` archive: it is damaged, or of another kind. Save the model "
            f"again with `model.save('name.keras')`. Received: path={str(path)!r}"
        )
    try:
        model = keras.models.load_model(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        # Keras reports every failure with the whole configuration, and the cause behind it.
        cause = str(error).rpartition("Exception encountered: ")[2]
        cause = cause.partition(" Full object config")[0]
        reason = cause.splitlines()[0] if cause else type(error).__name__
        raise ValueError(
            "The file could not be read as a Keras model. Expected a whole `.keras` file whose "
            f"custom classes are registered. Keras says: {reason[:300]} "
            f"Received: path={str(path)!r}"
        ) from error
    return model.classifier if isinstance(model, GQModel) else model
