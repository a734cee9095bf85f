"""Artifacts: one file or folder that holds classifier, score and threshold, and runs anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_lodin.export.artifact import Artifact as Artifact
from keras_lodin.export.artifact import load_artifact as load_artifact
from keras_lodin.export.litert import export_litert
from keras_lodin.export.onnx import export_onnx
from keras_lodin.export.saved_model import export_saved_model
from keras_lodin.export.seal import seal as seal

if TYPE_CHECKING:
    from keras_lodin.detectors.detector import Detector

FORMATS: dict[str, Callable[..., Any]] = {
    "tf_saved_model": export_saved_model,
    "onnx": export_onnx,
    "litert": export_litert,
}


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
    write(detector, path, verbose=verbose, **options)
