"""Formats that register themselves by name: write one, load what was written, seal it anew."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_lodin.export.artifact import Artifact
from keras_lodin.export.digest import saved_model_content
from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.metadata import METADATA_FILE, artifact_metadata
from keras_lodin.export.other_process import export_by_tensorflow
from keras_lodin.export.parity import Recorded
from keras_lodin.export.scorer import Scorer
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import clear_leftovers, file_digest
from keras_lodin.utils.late_keras import keras
from keras_lodin.utils.registry import Registry


@dataclass(frozen=True)
class Format:
    """A kind of file or folder that holds a whole detector.

    Attributes:
        suffix: what the names of such files end in; None for a folder.
        write: `(detector, path, *, verbose, recorded, ...)`, which writes one by TensorFlow. Its
            other keyword arguments are the format's options.
        load: makes an `Artifact` of the path of one.
        seal: writes the digest of the one at a path anew.
    """

    suffix: str | None
    write: Callable[..., None]
    load: Callable[[Path], Artifact]
    seal: Callable[[Path], None]


# What `Detector.export`, `load_artifact` and `seal` know. Those that take more come first.
FORMATS: Registry[Format] = Registry("format")


def export_detector(
    detector: Scorer,
    path: str | os.PathLike[str],
    *,
    format: str,
    verbose: bool = True,
    **options: Any,
) -> None:
    """Writes one artifact that holds a detector; `Detector.export` calls it.

    On another of Keras's backends than TensorFlow the detector goes to a process that has it.

    Raises:
        ValueError: for an unknown format or option, or a detector that cannot be exported.
        ImportError: if a package is missing that the export needs: TensorFlow, say.
        OSError: if the artifact cannot be written. Nothing half-written stays.
    """
    write = FORMATS.find(format, "format").write
    known = set(write.__kwdefaults__ or {}) - {"verbose", "recorded"}
    unknown = sorted(set(options) - known)
    if unknown:
        expected = f"the options {', '.join(sorted(known))}" if known else "no options"
        raise ValueError(f"Format {format!r} takes {expected}. Received: {', '.join(unknown)}")
    if keras.backend.backend() == "tensorflow":
        write_by_tensorflow(detector, path, format, verbose=verbose, **options)
    else:
        export_by_tensorflow(detector, path, format, verbose=verbose, options=options)


def write_by_tensorflow(
    detector: Scorer,
    path: str | os.PathLike[str],
    format: str,
    *,
    verbose: bool,
    recorded: Recorded | None = None,
    **options: Any,
) -> None:
    """Writes one artifact in a process whose backend is TensorFlow.

    Args:
        detector: the detector.
        path: what to write.
        format: one of `FORMATS`.
        verbose: whether to print what was written.
        recorded: what the detector gave on another backend, to hold the artifact to as well.
        **options: of the format.

    Raises:
        ValueError: if the detector cannot be exported.
        OSError: if the artifact cannot be written.
    """
    try:
        FORMATS[format].write(detector, path, verbose=verbose, recorded=recorded, **options)
    except FormatLimitError as refusal:
        raise refusal.with_formats(_accepted(detector, format)) from refusal


def _accepted(detector: Scorer, refused: str) -> list[str]:
    """The formats that take more than the one that refused a detector, and do take it.

    Tried, for what is only believed of a format sends people from one refusal to the next.
    """
    accepted = []
    for name in list(FORMATS)[: list(FORMATS).index(refused)]:
        trial = f"trial{FORMATS[name].suffix or ''}"
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Exception):
            FORMATS[name].write(detector, Path(folder) / trial, verbose=False)
            accepted.append(name)
    return accepted


def load_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Loads an exported or saved detector.

    Args:
        path: a SavedModel folder, an `.onnx` or a `.tflite` file that `Detector.export` wrote, or
            a `.keras` file that `Detector.save` wrote.

    Returns:
        an `Artifact`.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if what is there is not an artifact of this package, is damaged or was edited
            (see `keras_lodin.export.seal`), or is a SavedModel that reaches for files.
    """
    path = checked_path("path", path)
    if not path.exists():
        # An export that was killed while it replaced a folder may have left the old one aside.
        clear_leftovers(path.parent)
    if not path.exists():
        raise FileNotFoundError(
            "There is no artifact at that path; `detector.export(path)` or `keras-lodin export` "
            f"writes one. Received: path={path}"
        )
    format = _format_of(path)
    if format is not None:
        return format.load(path)
    if path.suffix == ".keras":
        return _load_keras(path)
    raise ValueError(
        f"An artifact is a SavedModel folder, or an {', '.join(_suffixes())} or .keras file. "
        f"Received: path={path}"
    )


def _load_keras(path: Path) -> Artifact:
    # Here, because an exported file is loaded without Keras.
    from keras_lodin.models.loading import load

    detector = load(path)
    if not isinstance(detector, Scorer):
        raise ValueError(
            "The file holds a model that is not a detector. Wrap the classifier in one, "
            "calibrate it and save that, as `keras-lodin tune` does. Received: a model of type "
            f"{type(detector).__name__} in path={path}"
        )
    return Artifact(artifact_metadata(detector), detector.predict_on_batch)


def seal(path: str | os.PathLike[str]) -> None:
    """Writes the digest of an exported artifact as it is now.

    `load_artifact` and `keras-lodin score` refuse an artifact that is not as it was exported. After
    an edit on purpose, by a tool that quantises or optimises the graph, compare its scores with the
    detector's, and then accept it by this call.

    Args:
        path: a SavedModel folder, an `.onnx` or a `.tflite` file that `Detector.export` wrote.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if what is there has no metadata of this package, or a field of them is wrong.
        OSError: if it cannot be written. Nothing half-written stays.

    Example:
    ```python
    onnxruntime.quantization.quantize_dynamic("detector.onnx", "small.onnx")
    keras_lodin.export.seal("small.onnx")
    keras_lodin.export.load_artifact("small.onnx").score(images)
    ```
    """
    path = checked_path("path", path)
    if not path.exists():
        raise FileNotFoundError(f"There is no artifact at that path. Received: path={path}")
    format = _format_of(path)
    if format is None:
        raise ValueError(
            "Expected an exported artifact: a SavedModel folder, or an "
            f"{' or '.join(_suffixes())} file. Others hold no digest. Received: path={path}"
        )
    format.seal(path)


def artifact_digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of what is at the path of an artifact or a saved detector: 64 digits.

    Args:
        path: as for `load_artifact`.

    Raises:
        OSError: if it cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return file_digest(path)
    found = hashlib.sha256()
    for piece in saved_model_content(path):
        found.update(piece)
    metadata = path / METADATA_FILE
    if metadata.is_file():
        found.update(metadata.read_bytes())
    return found.hexdigest()


def _format_of(path: Path) -> Format | None:
    suffix = None if path.is_dir() else path.suffix
    return next((format for format in FORMATS.values() if format.suffix == suffix), None)


def _suffixes() -> list[str]:
    return [format.suffix for format in FORMATS.values() if format.suffix is not None]
