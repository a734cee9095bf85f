"""An artifact for a server from a model file."""

from __future__ import annotations

import os
from typing import Any

from keras_lodin import models
from keras_lodin.data.value_range import Bounds, checked_input_range
from keras_lodin.detectors import Detector
from keras_lodin.workflows.loading import load_detector


def export_model(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    format: str = "tf_saved_model",
    input_range: Bounds | None = None,
    verbose: bool = True,
    **options: Any,
) -> None:
    """Exports a detector, or a classifier wrapped in ODIN with its default settings.

    Of a network with several exits the last one is taken. A classifier has no threshold yet, and
    its artifact calls nothing out-of-distribution: tune it first, and export the detector.

    Args:
        path: `.keras` file of a detector or classifier, or folder of a training run.
        output: the folder (SavedModel) or file to write.
        format: see `keras_lodin.Detector.export`.
        input_range: range of a classifier's inputs; None for judged by its first layers. A
            detector has its own.
        verbose: whether to print what was written.
        **options: of the format, see `keras_lodin.Detector.export`.

    Raises:
        ValueError: for an unknown format, or a model that cannot be exported.
        FileNotFoundError: if there is no such file.

    Example:
    ```python
    export_model("detector.keras", "detector.onnx", format="onnx")
    ```
    """
    if input_range is not None:
        input_range = checked_input_range(input_range)
        if isinstance(models.load(path), Detector):
            raise ValueError(
                "A detector has an input range of its own, which its settings are measured in: "
                "leave out `input_range` (--input-range), or tune the classifier with it "
                "(`keras-lodin tune --input-range LO HI`) and export the result. "
                f"Received: input_range={input_range}, path={str(path)!r}"
            )
    detector, inputs = load_detector(path, "odin", input_range)
    inputs.tell(verbose)
    detector.export(output, format=format, verbose=verbose, **options)
