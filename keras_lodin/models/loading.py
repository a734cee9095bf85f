"""Trained models from files, with errors that a stranger understands."""

from __future__ import annotations

import importlib.util
import os
import re
import zipfile
from pathlib import Path

import keras

from keras_lodin.models.deployed_classifier import deployed_classifier
from keras_lodin.utils.checked_path import checked_path

# Archives of weights hardly shrink. What is smaller than this when unfolded harms nobody.
_LARGEST_RATIO = 100
_HARMLESS_SIZE = 2**30


def load(path: str | os.PathLike[str]) -> keras.Model:
    """A classifier or a detector from a `.keras` file.

    Args:
        path: a `.keras` file, or the folder of a finished training run. A `GQModel` gives the
            classifier inside; a classifier with a `preprocessor` that its `predict` runs
            (KerasHub's) one model of both.

    Returns:
        the `keras.Model`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a Keras model, needs classes that are not registered or a
            package that is not installed, or its `predict` and its `call` differ in another way.
    """
    return deployed_classifier(read(model_file(path)))


def model_file(path: str | os.PathLike[str]) -> Path:
    """The file that `load` reads, which is not read yet.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no `.keras` file.
    """
    path = checked_path("path", path)
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
    return path


def read(path: Path) -> keras.Model:
    """The model in a `.keras` file as it was saved, a `GQModel` whole.

    Args:
        path: a zip archive that was found to exist.

    Raises:
        ValueError: if the file is damaged, or needs classes that are not registered.
    """
    _check_archive(path)
    try:
        return keras.models.load_model(path)
    except Exception as error:  # layers of users, h5py and TensorFlow raise errors of every class
        # Keras reports every failure with the whole configuration, and the cause behind it.
        cause = str(error).rpartition("Exception encountered: ")[2]
        cause = cause.partition(" Full object config")[0]
        reason = (cause.strip().splitlines() or [type(error).__name__])[0]
        package = _missing_package(reason)
        if package is not None:
            raise ValueError(
                f"The model is made with the package `{package}`, which is not installed here: "
                f"`pip install {package.replace('_', '-')}`. Received: path={str(path)!r}"
            ) from error
        raise ValueError(
            "The file could not be read as a Keras model. Expected a whole `.keras` file whose "
            f"custom classes are registered. Keras says: {reason[:300]} "
            f"Received: path={str(path)!r}"
        ) from error


def _check_archive(path: Path) -> None:
    """Refuses an archive with a damaged member: Keras reads weights without their checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            unfolded = sum(item.file_size for item in archive.infolist())
            limit = max(_HARMLESS_SIZE, _LARGEST_RATIO * path.stat().st_size)
            damaged = None if unfolded > limit else archive.testzip()
            reason = f"{damaged!r} differs from its checksum"
    except Exception as error:  # what a damaged archive can raise is not listed anywhere
        damaged, unfolded, limit, reason = "?", 0, 0, str(error)
    if unfolded > limit:
        raise ValueError(
            f"The file unfolds to {unfolded} bytes, which no saved model does. Expected "
            f"{limit} at most, {_LARGEST_RATIO} times its own size. Received: path={str(path)!r}"
        )
    if damaged is not None:
        raise ValueError(
            "The `.keras` file is damaged. Copy it again, or save the model again with "
            f"`model.save('name.keras')`. Received: path={str(path)!r}, {reason}"
        )


def _missing_package(reason: str) -> str | None:
    """The package that Keras looked for a model's class in, if it is not installed."""
    found = re.search(r"parent module (\w+)[\w.]* cannot be imported", reason)
    if found is None or importlib.util.find_spec(found[1]) is not None:
        return None
    return found[1]
