"""ONNX models as files: described, sealed, opened."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from keras_lodin.export.digest import pieces
from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.metadata import (
    METADATA_KEY,
    METADATA_VERSION,
    no_metadata,
    parsed_metadata,
)
from keras_lodin.export.onnx.weighted_model import WeightedModel
from keras_lodin.utils.files import atomic_write

# Protocol buffers, and so ONNX files without a second file for the weights, end here.
_LARGEST_FILE = 2**31 - 1
# The metadata property that holds the digest, the last one of the file.
_DIGEST_PROPERTY = "keras_lodin_sha256"


class Session:
    """An ONNX file in onnxruntime, a function of named arrays.

    Attributes:
        inputs: shapes by name, texts where a size is free.
        outputs: so of the outputs.
        metadata: the JSON text that the file says about itself, or None.

    Args:
        path: the file.
        for_trial: whether only a few batches will come, for which three things are memory and time
            spent for nothing: a second copy of the weights, in the order that makes them fastest
            to multiply with, what is kept of a batch's memory for the next one, and threads that
            wait for each other by going round and round.
    """

    def __init__(self, path: Path, *, for_trial: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        self._run_options = onnxruntime.RunOptions()
        if for_trial:
            options.add_session_config_entry("session.disable_prepacking", "1")
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        # It warns that the threshold is an input with a default, which is what it is for.
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self.inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self.outputs = {value.name: value.shape for value in self._session.get_outputs()}
        self.metadata = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name."""
        names = list(self.outputs)
        return dict(zip(names, self._session.run(names, inputs, self._run_options), strict=True))


def describe(model: onnx.ModelProto, metadata: dict[str, Any], threshold: float) -> None:
    """Gives a model its metadata, the threshold's default, and names for its free sizes."""
    graph = model.graph
    names = [metadata["input_name"], *metadata["side_inputs"], "threshold"]
    inputs = {value.name: value for value in graph.input}
    if set(inputs) != set(names):
        raise ValueError(
            f"The ONNX graph must have the inputs {names}; nothing was written. "
            f"Received: {sorted(inputs)}"
        )
    ordered = [inputs[name] for name in names]
    del graph.input[:]
    graph.input.extend(ordered)
    _name_free_sizes(graph.input[0], metadata["input_shape"], metadata["data_format"])
    for value in (*graph.input[1:-1], *graph.output):
        _name_free_sizes(value, [None], metadata["data_format"])
    default = numpy_helper.from_array(np.array(threshold, "float32"), "threshold")
    graph.initializer.append(default)
    model.producer_name = "keras-lodin"
    model.producer_version = metadata["keras_lodin_version"]
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
    onnx.helper.set_model_props(model, {**texts, METADATA_KEY: json.dumps(metadata)})


def _name_free_sizes(value: onnx.ValueInfoProto, shape: list[int | None], data_format: str) -> None:
    """Names sizes that are free: `batch`, and for images `height` and `width`."""
    spatial = ["height", "width"] if len(shape) == 4 else [f"size_{n}" for n in range(len(shape))]
    names = ["batch", *spatial]
    if data_format == "channels_first":
        names.insert(1, "channels")
    for name, size, dimension in zip(names, shape, value.type.tensor_type.shape.dim, strict=False):
        if size is None:
            dimension.dim_param = name


def drop_output(model: onnx.ModelProto, name: str) -> bool:
    """Takes an output away; False if there is none of that name."""
    kept = [value for value in model.graph.output if value.name != name]
    dropped = len(kept) < len(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return dropped


def check(model: WeightedModel) -> None:
    """Has ONNX's checker look at a model, all but its weights' numbers, which a runtime reads.

    Raises:
        Exception: of ONNX's own kinds, if something is wrong.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(model.proto)
    for name, value in model.weights.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        whole.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, value.shape))
    onnx.checker.check_model(whole, full_check=True)


def save(model: WeightedModel, path: Path) -> None:
    """Writes a model with its digest behind it, as one more metadata property.

    Protocol buffers may be read one behind the other, as one: the digest of a file is that of
    all bytes before its last property, whatever program reads it.
    """
    if model.size > _LARGEST_FILE:
        raise FormatLimitError(
            "An ONNX file cannot be larger than 2 GB", f"a model of {model.size} bytes"
        )
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in model.pieces():
            digest.update(piece)
            file.write(piece)
        file.write(_digest_property(digest.hexdigest()))


def seal(path: Path) -> None:
    """Writes a file's digest anew.

    Raises:
        ValueError: if it is no ONNX file, or one without metadata of this package.
    """
    model = _opened(path)
    properties = {item.key: item.value for item in model.metadata_props}
    properties.pop(_DIGEST_PROPERTY, None)
    if METADATA_KEY not in properties:
        raise no_metadata(path)
    metadata = parsed_metadata(properties[METADATA_KEY], path)
    properties[METADATA_KEY] = json.dumps({**metadata, "metadata_version": METADATA_VERSION})
    onnx.helper.set_model_props(model, properties)
    with atomic_write(path) as temporary:
        save(WeightedModel(model, {}), temporary)


def metadata_text(path: Path) -> str | None:
    """The JSON text that a file says about itself, read without running it; None without."""
    with contextlib.suppress(ValueError):
        properties = _opened(path).metadata_props
        return next((item.value for item in properties if item.key == METADATA_KEY), None)
    return None


def _opened(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own classes of errors are not public
        raise ValueError(
            f"The file is damaged, or no ONNX file. Received: path={path}, {error}"
        ) from error


def digest_holds(path: Path) -> bool | None:
    """Whether a file's digest is that of its content; None for a file that ends in none."""
    last = _digest_property("0" * 64)
    size = path.stat().st_size - len(last)
    with path.open("rb") as file:
        file.seek(max(size, 0))
        tail = file.read()
    match = re.fullmatch(re.escape(last[:-64]) + rb"([0-9a-f]{64})", tail, re.DOTALL)
    if size < 0 or match is None:
        return None
    found = hashlib.sha256()
    for piece in pieces(path):
        found.update(piece[: max(size, 0)])
        size -= len(piece)
    return found.hexdigest().encode() == match[1]


def _digest_property(digest: str) -> bytes:
    entry = onnx.StringStringEntryProto(key=_DIGEST_PROPERTY, value=digest)
    return bytes(onnx.ModelProto(metadata_props=[entry]).SerializeToString())
