"""A detector as an ONNX file, the perturbation inside."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_lodin.export import parity
from keras_lodin.export.announcement import announce
from keras_lodin.export.artifact import Artifact
from keras_lodin.export.digest import not_as_exported
from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.formats import FORMATS, Format
from keras_lodin.export.metadata import artifact_metadata, parsed_metadata
from keras_lodin.export.own_artifacts import check_file_is_own, check_report_is_own
from keras_lodin.export.runtime import Model, artifact_in, on_trial, refusals_of_runtime
from keras_lodin.export.scorer import Scorer
from keras_lodin.export.trial_inputs import checked_samples, constant_batch, random_batches
from keras_lodin.utils.files import write_together
from keras_lodin.utils.needed_packages import imported_for

_PACKAGES = ("keras-lodin", "keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")

_DATA_FORMATS = ("channels_last", "channels_first")


def export_onnx(
    detector: Scorer,
    path: str | os.PathLike[str],
    *,
    verbose: bool = True,
    recorded: parity.Recorded | None = None,
    data_format: str = "channels_last",
    sample_inputs: npt.ArrayLike | None = None,
) -> None:
    """Writes an ONNX file of opset 18 that holds the classifier, its gradient and the threshold.

    Inputs: the batch, float32, named after the classifier's input, or `images`, with a free batch
    size; the detector's `side_inputs`, if it has any; and `threshold`, a float32 scalar that may
    be left out, its default being the calibrated one. Outputs: `logits` (float32,
    `(batch, classes)`), `score` (float32, `(batch,)`, higher = more in-distribution), `is_ood`
    (bool, `(batch,)`) and `p_value` (float32, `(batch,)`). All operations are ONNX's own, the
    weights are stored once, and what the file says about itself is among its metadata properties:
    one each, and all of them as JSON under `keras_lodin`.

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
        recorded: None, or what the detector gave on another backend, to hold the file to.
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
    path = Path(path)
    check_file_is_own(path, ".onnx", "An ONNX")
    _check_data_format(detector, data_format)
    report_path = path.with_name(f"{path.stem}.report.json")
    check_report_is_own(report_path)
    _refuse_other_precisions(detector)
    batches = random_batches(detector)
    if sample_inputs is not None:
        batches.append(checked_samples(detector, sample_inputs))
    with imported_for("An export to ONNX"):
        from keras_lodin.export.onnx import model as models
        from keras_lodin.export.onnx.conversion import OPSET, convert
        from keras_lodin.export.reference import TensorFlowReference
        from keras_lodin.export.runnable import runnable
        from keras_lodin.export.serving_function import serving_function
        from keras_lodin.utils.keras_internals import layer_names

    metadata = artifact_metadata(detector)
    metadata |= {"data_format": data_format, "opset": OPSET}
    channels_first = data_format == "channels_first"
    function = serving_function(detector, channels_first=channels_first, with_gradient=True)
    metadata["input_shape"] = function.input_signature[0].shape.as_list()
    model = convert(function, layer_names(detector.classifier))
    models.describe(model.proto, metadata, detector.threshold)
    operations = Counter(node.op_type for node in model.proto.graph.node)
    # Together: a file with the report of another one would be taken at its word.
    with write_together(path.parent, path.name) as written:
        file, report_file = written / path.name, written / report_path.name
        with _refusals_of_runtimes():
            models.save(model, file)
            # Its channels are where the detector's are, so that the file's are checked.
            if channels_first:
                function = serving_function(detector, with_gradient=True)
            reference = TensorFlowReference(detector, function, runnable(function))
            trial = partial(_verify, detector, batches, recorded, data_format)
            figures = trial(reference, models.Session(file, for_trial=True), with_gradient=True)
            # The gradient was there to be looked at. Without it a runtime fuses other operations,
            # so the file as it will be is checked again.
            if models.drop_output(model.proto, "gradient"):
                models.save(model, file)
                trial(
                    reference.without_gradient(),
                    models.Session(file, for_trial=True),
                    with_gradient=False,
                )
            models.check(model)
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


def _check_data_format(detector: Scorer, data_format: str) -> None:
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
    from keras_lodin.utils.keras_internals import compute_dtypes

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


def _verify(
    detector: Scorer,
    batches: list[np.ndarray],
    recorded: parity.Recorded | None,
    data_format: str,
    reference: parity.Reference,
    session: Model,
    *,
    with_gradient: bool,
) -> list[dict[str, object]]:
    """Compares a file with the detector on all batches; the figures of each batch."""
    run = on_trial(detector, session, data_format)
    figures = [
        {"batch": list(batch.shape), **parity.check(reference, run, batch, detector.threshold)}
        for batch in batches
    ]
    if recorded is not None:
        found = recorded.check(reference, run, detector.threshold)
        figures += [
            {"batch": list(batch.shape), "backend": recorded.backend, **differences}
            for (batch, _), differences in zip(recorded.batches, found, strict=True)
        ]
    if with_gradient:
        parity.check_outside(reference, run, batches[1], detector.judged_input_range)
        parity.check_finite(reference, run, constant_batch(detector))
    if "gradient" not in session.outputs:  # the file as it will be
        parity.check_threshold(run, batches[0])
    return figures


def _report_lines(report: dict[str, Any]) -> list[str]:
    lines = [
        f"  opset {report['opset']}, {report['bytes'] / 2**20:.1f} MB, "
        f"{sum(report['operations'].values())} nodes",
        "  checked against TensorFlow, relative differences:",
    ]
    for figures in report["parity"]:
        shape = " x ".join(map(str, figures["batch"]))
        numbers = {key: value for key, value in figures.items() if isinstance(value, float)}
        values = ", ".join(f"{key} {value:.1e}" for key, value in numbers.items())
        against = f", against {figures['backend']}" if "backend" in figures else ""
        lines.append(f"    batch {shape}{against}: {values}")
    return lines


def _load(path: Path) -> Artifact:
    with imported_for("An ONNX file"):
        from keras_lodin.export.onnx import model as models

    digest = models.digest_holds(path)
    if digest is False:
        # Whoever edited the metadata is told which field is wrong, where one is.
        text = models.metadata_text(path)
        if text is not None:
            parsed_metadata(text, path)
        raise not_as_exported(path)
    with refusals_of_runtime("onnxruntime", path):
        session = models.Session(path)
    if session.metadata is None:
        raise ValueError(
            "The ONNX file was not written by keras-lodin: it holds no score. Wrap the "
            f"classifier in a detector, and export that. Received: path={path}"
        )
    metadata = parsed_metadata(session.metadata, path)
    if digest is None and "metadata_version" in metadata:
        raise not_as_exported(path)
    return artifact_in("onnxruntime", metadata, session, path)


def _seal(path: Path) -> None:
    with imported_for("An ONNX file"):
        from keras_lodin.export.onnx import model as models

    models.seal(path)


FORMATS.register("onnx", position=2)(Format(".onnx", export_onnx, _load, _seal))
