"""Artifacts: one file or folder that holds classifier, score and threshold, and runs anywhere."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_lodin.export.artifact import Artifact as Artifact
from keras_lodin.export.artifact import load_artifact as load_artifact
from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.litert.file import export_litert
from keras_lodin.export.onnx.file import export_onnx
from keras_lodin.export.saved_model import export_saved_model
from keras_lodin.export.seal import seal as seal

if TYPE_CHECKING:
    from keras_lodin.detectors.detector import Detector

# Those that take more come first.
FORMATS: dict[str, Callable[..., Any]] = {
    "tf_saved_model": export_saved_model,
    "onnx": export_onnx,
    "litert": export_litert,
}

_SUFFIXES = {"tf_saved_model": "", "onnx": ".onnx", "litert": ".tflite"}


def export_detector(
    detector: Detector,
    path: str | os.PathLike[str],
    *,
    format: str,
    verbose: bool = True,
    **options: Any,
) -> None:
    """Writes one artifact that holds a detector; `Detector.export` calls it.

    Args:
        detector: the detector.
        path: the folder or file to write. What stands there is replaced once the new artifact has
            been checked, and not before.
        format: "tf_saved_model" (see `export_saved_model`), "onnx" (see `export_onnx`) or
            "litert" (see `export_litert`).
        verbose: whether to print what was written.
        **options: what the format takes; see its own function.

    Raises:
        ValueError: for an unknown format or option, or a detector that cannot be exported.
        OSError: if the artifact cannot be written. Nothing half-written stays.
    """
    if format not in FORMATS:
        raise ValueError(
            f"`format` must be one of {', '.join(map(repr, FORMATS))}. Received: format={format!r}"
        )
    write = FORMATS[format]
    known = set(write.__kwdefaults__ or {}) - {"verbose"}
    unknown = sorted(set(options) - known)
    if unknown:
        expected = f"the options {', '.join(sorted(known))}" if known else "no options"
        raise ValueError(f"Format {format!r} takes {expected}. Received: {', '.join(unknown)}")
    try:
        write(detector, path, verbose=verbose, **options)
    except FormatLimitError as refusal:
        raise refusal.with_formats(_accepted(detector, format)) from refusal


def _accepted(detector: Detector, refused: str) -> list[str]:
    """The formats that take more than the one that refused a detector, and do take it.

    Tried, for what is only believed of a format sends people from one refusal to the next.
    """
    accepted = []
    for name in list(FORMATS)[: list(FORMATS).index(refused)]:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Exception):
            FORMATS[name](detector, Path(folder) / f"trial{_SUFFIXES[name]}", verbose=False)
            accepted.append(name)
    return accepted
