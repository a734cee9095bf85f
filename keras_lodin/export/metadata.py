"""What an artifact says about itself."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_lodin.export.serving_function import OUTPUT_NAMES, input_name

if TYPE_CHECKING:
    from keras_lodin.detectors.detector import Detector

# Where a SavedModel keeps it, inside its folder; TensorFlow leaves this folder to others.
METADATA_FILE = Path("assets.extra/keras_lodin.json")
# The key of the JSON text among an ONNX file's metadata properties.
METADATA_KEY = "keras_lodin"


def artifact_metadata(detector: Detector) -> dict[str, Any]:
    """Everything a person or a server should know about an artifact, as JSON values.

    Args:
        detector: the detector.

    Returns:
        a dictionary: the package's version, the detector's class and settings (None where a
        detector has no such setting), threshold (None before calibration), tpr, class names,
        score direction, and the names and shapes of inputs and outputs. Free sizes are None.
    """
    tpr = getattr(detector, "tpr", None)
    channel_std = getattr(detector, "channel_std", None)
    threshold = detector.threshold
    return {
        "keras_lodin_version": version("keras-lodin"),
        "detector": type(detector).__name__,
        "temperature": _number(getattr(detector, "temperature", None)),
        "epsilon": _number(getattr(detector, "epsilon", None)),
        # Two numbers, or two lists of them where features have ranges of their own; and whether
        # somebody gave it, the classifier or data showed it, or it was only assumed.
        "input_range": detector.judged_input_range.to_json(),
        "input_range_origin": detector.input_range_origin,
        "channel_std": None if channel_std is None else [float(value) for value in channel_std],
        "calibrated": detector.calibrated,
        "threshold": threshold if math.isfinite(threshold) else None,
        "tpr": _number(tpr),
        "class_names": None if detector.class_names is None else list(detector.class_names),
        "num_classes": detector.num_classes,
        "score_direction": "higher is more in-distribution",
        "is_ood_rule": "score <= threshold",
        "input_name": input_name(detector),
        "input_shape": list(detector.input_shape_with_batch),
        "input_dtype": "float32",
        "side_inputs": list(detector.side_inputs),
        "output_names": list(OUTPUT_NAMES),
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
