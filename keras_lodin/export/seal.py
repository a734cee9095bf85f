"""The digest of an artifact that was edited on purpose, written anew."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import onnx

from keras_lodin.export.digest import (
    DIGEST_FIELD,
    DIGEST_PROPERTY,
    metadata_digest,
    saved_model_content,
    sealed_onnx,
)
from keras_lodin.export.litert import file as litert
from keras_lodin.export.metadata import (
    METADATA_FILE,
    METADATA_KEY,
    METADATA_VERSION,
    parsed_metadata,
)
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import atomic_write


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
    if path.is_dir():
        _seal_saved_model(path)
    elif path.suffix == ".onnx":
        _seal_onnx(path)
    elif path.suffix == ".tflite":
        _seal_litert(path)
    else:
        raise ValueError(
            "Expected an exported artifact: a SavedModel folder, an .onnx or a .tflite file. "
            f"Others hold no digest. Received: path={path}"
        )


def _seal_saved_model(path: Path) -> None:
    file = path / METADATA_FILE
    if not file.is_file():
        raise _no_metadata(path)
    metadata = parsed_metadata(file.read_bytes(), path) | {"metadata_version": METADATA_VERSION}
    metadata[DIGEST_FIELD] = metadata_digest(metadata, saved_model_content(path))
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def _seal_onnx(path: Path) -> None:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own classes of errors are not public
        raise ValueError(
            f"The file is damaged, or no ONNX file. Received: path={path}, {error}"
        ) from error
    properties = {item.key: item.value for item in model.metadata_props}
    properties.pop(DIGEST_PROPERTY, None)
    if METADATA_KEY not in properties:
        raise _no_metadata(path)
    metadata = parsed_metadata(properties[METADATA_KEY], path)
    properties[METADATA_KEY] = json.dumps(metadata | {"metadata_version": METADATA_VERSION})
    onnx.helper.set_model_props(model, properties)
    with atomic_write(path) as temporary:
        temporary.write_bytes(sealed_onnx(model.SerializeToString()))


def _seal_litert(path: Path) -> None:
    content = path.read_bytes()
    packed = litert.packed_metadata(content)
    if packed is None:
        raise _no_metadata(path)
    text, model_size = packed
    metadata = parsed_metadata(text, path)
    with zipfile.ZipFile(path) as archive:
        others = {
            item: archive.read(item)
            for item in archive.infolist()
            if item.filename != METADATA_FILE.name
        }
    with atomic_write(path) as temporary:
        temporary.write_bytes(litert.with_metadata(content[:model_size], metadata))
        with zipfile.ZipFile(temporary, "a") as archive:
            for item, packed_file in others.items():
                archive.writestr(item, packed_file)


def _no_metadata(path: Path) -> ValueError:
    return ValueError(
        "The file holds no metadata of keras-lodin: it was written by something else, or lost them "
        f"in the edit. Export the detector again. Received: path={path}"
    )
