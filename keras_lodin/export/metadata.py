"""What an artifact says about itself."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from operator import eq
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from keras_lodin.export.digest import DIGEST_FIELD, metadata_digest
from keras_lodin.export.outputs import OUTPUT_NAMES, input_name
from keras_lodin.export.scorer import Scorer
from keras_lodin.metrics.p_values import TABLE_ERROR, TABLE_SIZE
from keras_lodin.utils.late_keras import keras

# Where a SavedModel keeps it, inside its folder; TensorFlow leaves this folder to others.
METADATA_FILE = Path("assets.extra/keras_lodin.json")
# The key of the JSON text among an ONNX file's metadata properties.
METADATA_KEY = "keras_lodin"
# Of the fields as they are now. Files of version 1 do not name it, and have no digest; those of
# version 2 have no p-values.
METADATA_VERSION = 3
# Of `configuration`, which nothing reads to score: a file of a later version of it loads.
CONFIGURATION_VERSION = 1

_SCORE_DIRECTION = "higher is more in-distribution"
_IS_OOD_RULE = "score <= threshold"
# What there was before there were p-values.
_WITHOUT_P_VALUES = OUTPUT_NAMES[:3]
# What `keras-lodin score` can compute beside the batch.
SIDE_INPUTS = ("complexity",)
# A gigabyte of float32: no classifier takes more at once, and no machine should be asked to.
_LARGEST_INPUT = 2**28


def artifact_metadata(detector: Scorer) -> dict[str, Any]:
    """Everything a person or a server should know about an artifact, as JSON values.

    Returns:
        a dictionary: the version of its fields and of the package, the detector's class and
        settings (None for a common one that it does not have), threshold (None before calibration),
        tpr, confidence, the number of samples that it was calibrated on, the number of scores that
        p-values are computed from (None for none: they are 1) and by how much they may be above the
        exact ones, class names, score direction, and the
        names and shapes of inputs and outputs. Free sizes are None.
    """
    settings = json_values(detector.config_without_classifier())
    threshold = detector.threshold
    return {
        "metadata_version": METADATA_VERSION,
        "keras_lodin_version": version("keras-lodin"),
        "detector": type(detector).__name__,
        # Everything that its constructor takes, beside the classifier.
        "configuration_version": CONFIGURATION_VERSION,
        "configuration": settings,
        # Of these, what readers look for by name.
        **{name: settings.get(name) for name in ("temperature", "epsilon", "channel_std")},
        # Two numbers, or two lists of them where features have ranges of their own; and whether
        # somebody gave it, the classifier or data showed it, or it was only assumed.
        "input_range": detector.judged_input_range.to_json(),
        "input_range_origin": detector.judged_input_range.origin,
        "calibrated": detector.calibrated,
        "threshold": threshold if math.isfinite(threshold) else None,
        "tpr": detector.tpr,
        "confidence": detector.confidence,
        "calibration_count": detector.calibration_count,
        "p_value_count": detector.p_value_count,
        "p_value_error": TABLE_ERROR if (detector.p_value_count or 0) > TABLE_SIZE else 0.0,
        "class_names": None if detector.class_names is None else list(detector.class_names),
        "num_classes": detector.num_classes,
        "score_direction": _SCORE_DIRECTION,
        "is_ood_rule": _IS_OOD_RULE,
        "input_name": input_name(detector),
        "input_shape": list(detector.input_shape_with_batch),
        "input_dtype": "float32",
        "side_inputs": list(detector.side_inputs),
        "output_names": list(OUTPUT_NAMES),
    }


def json_values(config: Mapping[str, object]) -> dict[str, Any]:
    """A Keras configuration as JSON has it: tuples and arrays as lists, NaN and infinity null."""

    def serialized(value: object) -> object:
        if isinstance(value, (np.ndarray, np.generic)):
            return value.tolist()
        try:
            return keras.saving.serialize_keras_object(value)
        except Exception:  # what Keras cannot save can be exported all the same
            return repr(value)

    text = json.dumps(config, default=serialized, skipkeys=True)
    plain: dict[str, Any] = json.loads(text, parse_constant=lambda name: None)
    return plain


def sealed(metadata: Mapping[str, object], content: Iterable[bytes]) -> str:
    """Metadata as JSON text, with the digest of them and of what they describe."""
    described: dict[str, object] = {**metadata, "metadata_version": METADATA_VERSION}
    described[DIGEST_FIELD] = metadata_digest(described, content)
    return json.dumps(described, indent=2)


def parsed_metadata(text: str | bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Metadata out of an artifact, every field checked.

    Returns:
        the metadata. Fields that are not known here are kept as they are.

    Raises:
        ValueError: naming the first field that is missing or that cannot be as it is.
    """
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            "The artifact's metadata are damaged. Expected JSON, as `export` writes it: export "
            f"the detector again. Received: path={path}, {error}"
        ) from error
    if not isinstance(metadata, dict):
        raise ValueError(
            "The artifact's metadata must be a JSON object with a field for each property; export "
            f"the detector again. Received: path={path}, {type(metadata).__name__}"
        )
    version = metadata.get("metadata_version", 1)
    if _is_count(version) and version > METADATA_VERSION:
        raise ValueError(
            "The artifact was written by a later version of keras-lodin, whose metadata this one "
            f"cannot read. Expected metadata_version {METADATA_VERSION} or less: update "
            f"keras-lodin. Received: metadata_version={version}, path={path}"
        )
    for name, (holds, expected) in _fields(metadata).items():
        missing = name not in metadata
        if missing and (
            name in _NOT_IN_ALL
            or (version == 1 and name in _SINCE_VERSION_2)
            or (name in _WITH_P_VALUES and not _has_p_values(metadata))
        ):
            continue
        if missing or not holds(metadata[name]):
            received = f"no {name}" if missing else f"{name}={metadata[name]!r:.200}"
            raise ValueError(
                f"The field `{name}` of the artifact's metadata must be {expected}. The file is "
                "damaged or was edited: export the detector again. "
                f"Received: {received}, path={path}"
            )
    return metadata


def no_metadata(path: str | os.PathLike[str]) -> ValueError:
    """The error for what is to be sealed, and is no artifact."""
    return ValueError(
        "The file holds no metadata of keras-lodin: it was written by something else, or lost them "
        f"in the edit. Export the detector again. Received: path={path}"
    )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value)


def _is_finite(value: float) -> bool:
    # An int of a thousand digits is a number of JSON, and no float.
    return abs(value) < 3.5e38 if isinstance(value, int) else math.isfinite(value)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_text(value: object, pattern: str = r"(?s).*") -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _is_list(value: object, holds: Callable[[object], bool]) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and all(map(holds, value))


def _is_range(value: object) -> bool:
    """Whether it is two numbers, or two lists of numbers for the features, lo < hi."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    low, high = value
    if isinstance(low, list) and isinstance(high, list) and len(low) == len(high):
        return bool(low) and all(
            _is_range(list(pair)) or (_is_number(pair[0]) and pair[0] == pair[1])
            for pair in zip(low, high, strict=True)
        )
    return _is_number(low) and _is_number(high) and low < high


def _is_shape(value: object) -> bool:
    return (
        _is_list(value, lambda size: size is None or _is_count(size))
        and len(value) > 1
        and value[0] is None
        and math.prod(size for size in value if size is not None) <= _LARGEST_INPUT
    )


def _optional(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or holds(value)


def _has_p_values(metadata: Mapping[str, Any]) -> bool:
    """Whether they speak of p-values: an older file does not, with its digest written anew too."""
    return any(name in metadata for name in _WITH_P_VALUES)


def _fields(metadata: Mapping[str, Any]) -> dict[str, tuple[Callable[[object], bool], str]]:
    """Each field with what it must be. Those that others are checked by come first."""
    return {
        "metadata_version": (_is_count, f"a whole number, {METADATA_VERSION} at most"),
        "keras_lodin_version": (
            partial(_is_text, pattern=r"\d+(\.\w+)*(\+.*)?"),
            "a version such as '1.0.0'",
        ),
        "detector": (_is_name, "the name of a class"),
        "num_classes": (
            lambda value: _is_count(value) and 1 < value <= _LARGEST_INPUT,
            "a whole number above 1",
        ),
        "class_names": (
            _optional(lambda v: _is_list(v, _is_text) and len(v) == metadata["num_classes"]),
            "null or a text for each of the `num_classes` classes",
        ),
        "configuration_version": (_is_count, "a whole number above 0"),
        "configuration": (
            lambda value: isinstance(value, dict),
            "an object with the settings that the detector was made with",
        ),
        "temperature": (
            _optional(lambda value: _is_number(value) and value > 0),
            "null or a finite number above 0",
        ),
        "epsilon": (
            _optional(lambda value: _is_number(value) and value >= 0),
            "null or a finite number, 0 or more",
        ),
        "input_range": (_is_range, "two finite numbers, the lowest and the highest input value"),
        "channel_std": (
            _optional(lambda value: _is_list(value, lambda s: _is_number(s) and s > 0)),
            "null or a finite number above 0 for each channel",
        ),
        "input_range_origin": (
            partial(_is_text, pattern="(?s).+"),
            "a word that says how the range is known",
        ),
        "calibrated": (lambda value: isinstance(value, bool), "true or false"),
        "threshold": (
            _optional(lambda value: _is_number(value) and metadata["calibrated"]),
            "a finite number, or null, as it is before calibration",
        ),
        "tpr": (
            _optional(lambda value: _is_number(value) and 0 < value <= 1),
            "null or a fraction of in-distribution data, above 0 and at most 1",
        ),
        "calibration_count": (
            _optional(_is_count),
            "null or the number of samples that the threshold was calibrated on",
        ),
        "confidence": (
            _optional(lambda value: _is_number(value) and 0 < value <= 1),
            "null or a fraction of calibration sets, above 0 and at most 1",
        ),
        "p_value_count": (
            _optional(_is_count),
            "null or the number of scores that p-values are computed from",
        ),
        "p_value_error": (
            lambda value: _is_number(value) and 0 <= value < 1,
            "a number from 0 to 1, by how much p-values may be above the exact ones",
        ),
        "score_direction": (partial(eq, _SCORE_DIRECTION), repr(_SCORE_DIRECTION)),
        "is_ood_rule": (partial(eq, _IS_OOD_RULE), repr(_IS_OOD_RULE)),
        "input_name": (_is_name, "a name of letters, digits and underscores"),
        "input_shape": (
            _is_shape,
            "null for the batch and then whole numbers above 0, or null for sizes that are free, "
            f"with at most {_LARGEST_INPUT} values in one input",
        ),
        "input_dtype": (partial(eq, "float32"), "'float32'"),
        "side_inputs": (
            lambda value: value in ([], list(SIDE_INPUTS)),
            f"empty or {list(SIDE_INPUTS)}; the file of a detector with others is run by code of "
            "one's own",
        ),
        "output_names": (
            lambda value: (
                value == list(OUTPUT_NAMES if _has_p_values(metadata) else _WITHOUT_P_VALUES)
            ),
            f"{list(OUTPUT_NAMES)}, or of an earlier version {list(_WITHOUT_P_VALUES)}",
        ),
        "data_format": (
            lambda value: value in ("channels_last", "channels_first"),
            "'channels_last' or 'channels_first'",
        ),
        "opset": (_is_count, "a whole number above 0"),
        DIGEST_FIELD: (partial(_is_text, pattern="[0-9a-f]{64}"), "64 hexadecimal digits"),
    }


# Of ONNX files alone, or of all but those, or of files since they exist.
_NOT_IN_ALL = (
    *("metadata_version", "data_format", "opset", DIGEST_FIELD),
    *("configuration_version", "configuration"),
)
# All of them, or none in files from before there were p-values.
_WITH_P_VALUES = ("confidence", "p_value_count", "p_value_error")
_SINCE_VERSION_2 = ("input_range_origin", "calibration_count")
