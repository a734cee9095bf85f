"""A detector as an ONNX file, the perturbation inside."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from keras_lodin.export import parity
from keras_lodin.export.announcement import announce
from keras_lodin.export.artifact import Artifact
from keras_lodin.export.digest import (
    DIGEST_PROPERTY,
    not_as_exported,
    onnx_digest_holds,
    sealed_onnx,
)
from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.formats import FORMATS, Format
from keras_lodin.export.metadata import (
    METADATA_KEY,
    METADATA_VERSION,
    artifact_metadata,
    no_metadata,
    parsed_metadata,
)
from keras_lodin.export.own_artifacts import check_file_is_own, check_report_is_own
from keras_lodin.export.reference import Reference
from keras_lodin.export.runtime import artifact_in, refusals_of_runtime
from keras_lodin.export.scorer import Scorer
from keras_lodin.export.serving_function import OUTPUT_NAMES, serving_function
from keras_lodin.export.trial_inputs import constant_batch, random_batches
from keras_lodin.utils.files import atomic_write, write_together
from keras_lodin.utils.keras_internals import compute_dtypes, layer_names

# Protocol buffers, and so ONNX files without a second file for the weights, end here.
_LARGEST_FILE = 2**31 - 1

_PACKAGES = ("keras-lodin", "keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")

_DATA_FORMATS = ("channels_last", "channels_first")


def export_onnx(
    detector: Scorer,
    path: str | os.PathLike[str],
    *,
    verbose: bool = True,
    data_format: str = "channels_last",
    sample_inputs: Any = None,
) -> None:
    """Writes an ONNX file of opset 18 that holds the classifier, its gradient and the threshold.

    Inputs: the batch, float32, named after the classifier's input, or `images`, with a free batch
    size; the detector's `side_inputs`, if it has any; and `threshold`, a float32 scalar that may
    be left out, its default being the calibrated one. Outputs: `logits` (float32,
    `(batch, classes)`), `score` (float32, `(batch,)`, higher = more in-distribution) and `is_ood`
    (bool, `(batch,)`). All operations are ONNX's own, the weights are stored once, and what the
    file says about itself is among its metadata properties: one each, and all of them as JSON
    under `keras_lodin`.

    What cannot be converted is refused before anything is written. What was written is checked
    before it is moved into place: by ONNX's checker, then in onnxruntime against TensorFlow,
    outputs and input gradient, on random inputs of two batch sizes and on `sample_inputs`, whose
    report is printed, and written beside the file as `<name>.report.json`; also on inputs far
    outside of the range, and on constant ones.

    Args:
        detector: the detector. Before `calibrate`, `is_ood` is False unless a threshold is given.
        path: the file to write or replace; ends in `.onnx`. A file, or a report beside it, that no
            export wrote is not replaced.
        verbose: whether to print the report.
        data_format: "channels_last", as Keras has it, or "channels_first": the file's input is
            then (batch, channels, *spatial).
        sample_inputs: None, or inputs to check the file on as well, an array with the channels
            last; real ones are a harder test than random ones.

    Raises:
        ValueError: if the classifier cannot be converted, or the file disagrees with it.
        OSError: if it cannot be written. Nothing half-written stays.

    Example:

    ```python
    detector.export("detector.onnx", format="onnx")

    session = onnxruntime.InferenceSession("detector.onnx")  # elsewhere, without TensorFlow
    logits, score, is_ood = session.run(["logits", "score", "is_ood"], {"images": images})
    ```
    """
    # tf2onnx takes a tenth of a second to import, which only this should pay.
    from keras_lodin.export.onnx.conversion import OPSET, convert

    path = Path(path)
    _check_arguments(detector, path, data_format)
    report_path = path.with_name(f"{path.stem}.report.json")
    check_file_is_own(path)
    check_report_is_own(report_path)
    _refuse_other_precisions(detector)
    batches = random_batches(detector)
    if sample_inputs is not None:
        batches.append(_checked_samples(detector, sample_inputs))
    channels_first = data_format == "channels_first"
    metadata = {**artifact_metadata(detector), "data_format": data_format, "opset": OPSET}
    function = serving_function(detector, channels_first=channels_first, with_gradient=True)
    metadata["input_shape"] = function.input_signature[0].shape.as_list()
    model = convert(function, layer_names(detector.classifier))
    _describe(model, metadata, detector.threshold)
    operations = Counter(node.op_type for node in model.graph.node)
    # Together: a file with the report of another one would be taken at its word.
    with write_together(path.parent, path.name) as written:
        file, report_file = written / path.name, written / report_path.name
        with _refusals_of_runtimes():
            _save(model, file)
            figures = _verify(detector, file, metadata, batches, with_gradient=True)
            # The gradient was there to be looked at. Without it a runtime fuses other operations,
            # so the file as it will be is checked again.
            if _drop_output(model, "gradient"):
                _save(model, file)
                _verify(detector, file, metadata, batches, with_gradient=False)
            onnx.checker.check_model(str(file), full_check=True)
        report = {
            "file": path.name,
            "bytes": file.stat().st_size,
            "opset": OPSET,
            "parity": figures,
            "operations": dict(sorted(operations.items())),
            "versions": {package: version(package) for package in _PACKAGES},
            "metadata": metadata,
        }
        report_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if verbose:
        announce(metadata, "ONNX file", path, _report_lines(report))


def _check_arguments(detector: Scorer, path: Path, data_format: str) -> None:
    if path.suffix != ".onnx":
        raise ValueError(f"An ONNX file's name must end in .onnx. Received: path={path}")
    if path.is_dir():
        raise ValueError(
            f"An ONNX artifact is a file, and there is a folder of that name. Received: path={path}"
        )
    if data_format not in _DATA_FORMATS:
        raise ValueError(
            f"`data_format` must be one of {', '.join(map(repr, _DATA_FORMATS))}. "
            f"Received: data_format={data_format!r}"
        )
    if data_format == "channels_first" and len(detector.input_shape_with_batch) < 3:
        raise ValueError(
            "An input of shape (batch, features) has no channels to put first. Received: "
            f"data_format={data_format!r}, input shape {detector.input_shape_with_batch}"
        )


def _refuse_other_precisions(detector: Scorer) -> None:
    reduced = sorted(
        f"{name} ({dtype})"
        for name, dtype in compute_dtypes(detector.classifier).items()
        if dtype in ("float16", "bfloat16", "float64")
    )
    if reduced:
        raise FormatLimitError(
            "An ONNX file computes in float32, as runtimes have no convolutions of every other "
            "precision",
            "the layers " + ", ".join(reduced),
            "Set `layer.dtype_policy = 'float32'` for all layers.",
        )


def _checked_samples(detector: Scorer, sample_inputs: Any) -> np.ndarray:
    samples = np.asarray(sample_inputs, "float32")
    if not len(samples):
        raise ValueError("`sample_inputs` must not be empty. Received: an array of no samples")
    detector.check_inputs(samples)
    return samples


def _describe(model: onnx.ModelProto, metadata: dict[str, Any], threshold: float) -> None:
    """Gives the model its metadata, the threshold's default, and names for its free sizes."""
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


def _name_free_sizes(value: Any, shape: list[int | None], data_format: str) -> None:
    """Names sizes that are free: `batch`, and for images `height` and `width`."""
    spatial = ["height", "width"] if len(shape) == 4 else [f"size_{n}" for n in range(len(shape))]
    names = ["batch", *spatial]
    if data_format == "channels_first":
        names.insert(1, "channels")
    for axis, (size, dimension) in enumerate(
        zip(shape, value.type.tensor_type.shape.dim, strict=False)
    ):
        if size is None:
            dimension.dim_param = names[axis]


def _drop_output(model: onnx.ModelProto, name: str) -> bool:
    kept = [value for value in model.graph.output if value.name != name]
    dropped = len(kept) < len(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return dropped


def _save(model: onnx.ModelProto, path: Path) -> None:
    if model.ByteSize() > _LARGEST_FILE:
        raise FormatLimitError(
            "An ONNX file cannot be larger than 2 GB", f"a model of {model.ByteSize()} bytes"
        )
    path.write_bytes(sealed_onnx(model.SerializeToString()))


@contextlib.contextmanager
def _refusals_of_runtimes() -> Iterator[None]:
    """Turns the errors of ONNX and onnxruntime, whose classes are not public, into ValueError."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise FormatLimitError(
            "The converted file is not one that onnxruntime runs",
            str(error),
            "Report it, with the classifier's layers.",
        ) from error


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # It warns that the threshold is an input with a default, which is what it is for.
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _verify(
    detector: Scorer,
    path: Path,
    metadata: dict[str, Any],
    batches: list[np.ndarray],
    with_gradient: bool,
) -> list[dict[str, Any]]:
    """Compares a file with the detector on all batches; the figures of each batch."""
    reference = Reference(detector, serving_function(detector, with_gradient=with_gradient))
    threshold = detector.threshold
    session = _session(path)
    names = [output.name for output in session.get_outputs()]

    def run(batch: np.ndarray, **more: Any) -> dict[str, np.ndarray]:
        more |= detector.example_side_values(len(batch))
        if metadata["data_format"] == "channels_first":
            batch = np.ascontiguousarray(np.moveaxis(batch, -1, 1))
        outputs = session.run(names, {metadata["input_name"]: batch, **more})
        return dict(zip(names, outputs, strict=True))

    figures = []
    for batch in batches:
        found = parity.check(reference, run, batch, threshold)
        figures.append({"batch": list(batch.shape), **found})
    if with_gradient:
        parity.check_outside(reference, run, batches[1], detector.judged_input_range)
        parity.check_finite(reference, run, constant_batch(detector))
    for moved, verdict in ((-np.inf, False), (np.inf, True)):
        is_ood = run(batches[0], threshold=np.array(moved, "float32"))["is_ood"]
        if (is_ood != verdict).any():
            raise ValueError(
                "The ONNX file's `threshold` input must move `is_ood`; nothing was written. "
                f"Received: is_ood={is_ood} at threshold={moved}"
            )
    return figures


def _report_lines(report: dict[str, Any]) -> list[str]:
    lines = [
        f"  opset {report['opset']}, {report['bytes'] / 2**20:.1f} MB, "
        f"{sum(report['operations'].values())} nodes",
        "  checked against TensorFlow, relative differences:",
    ]
    for figures in report["parity"]:
        shape = " x ".join(map(str, figures["batch"]))
        values = ", ".join(f"{key} {value:.1e}" for key, value in figures.items() if key != "batch")
        lines.append(f"    batch {shape}: {values}")
    return lines


def _load(path: Path) -> Artifact:
    digest = onnx_digest_holds(path)
    if digest is False:
        # Whoever edited the metadata is told which field is wrong, where one is.
        text = _metadata(path)
        if text is not None:
            parsed_metadata(text, path)
        raise not_as_exported(path)
    with refusals_of_runtime("onnxruntime", path):
        session = _session(path)
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ValueError(
            "The ONNX file was not written by keras-lodin: it holds no score. Wrap the "
            f"classifier in a detector, and export that. Received: path={path}"
        )
    metadata = parsed_metadata(text, path)
    if digest is None and "metadata_version" in metadata:
        raise not_as_exported(path)
    inputs = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}

    def run(given: dict[str, np.ndarray]) -> dict[str, Any]:
        return dict(zip(OUTPUT_NAMES, session.run(OUTPUT_NAMES, given), strict=True))

    return artifact_in("onnxruntime", metadata, inputs, outputs, run, path)


def _metadata(path: str | os.PathLike[str]) -> str | None:
    """The JSON text that an ONNX file says about itself, read without running it; None without."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's own classes of errors are not public
        return None
    return next((item.value for item in model.metadata_props if item.key == METADATA_KEY), None)


def _seal(path: Path) -> None:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own classes of errors are not public
        raise ValueError(
            f"The file is damaged, or no ONNX file. Received: path={path}, {error}"
        ) from error
    properties = {item.key: item.value for item in model.metadata_props}
    properties.pop(DIGEST_PROPERTY, None)
    if METADATA_KEY not in properties:
        raise no_metadata(path)
    metadata = parsed_metadata(properties[METADATA_KEY], path)
    properties[METADATA_KEY] = json.dumps(metadata | {"metadata_version": METADATA_VERSION})
    onnx.helper.set_model_props(model, properties)
    with atomic_write(path) as temporary:
        temporary.write_bytes(sealed_onnx(model.SerializeToString()))


FORMATS.register("onnx", position=2)(Format(".onnx", export_onnx, _load, _seal))
