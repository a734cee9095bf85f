"""A detector as a LiteRT (TensorFlow Lite) file, the perturbation inside."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.export import parity
from keras_lodin.export.announcement import announce
from keras_lodin.export.artifact import Artifact
from keras_lodin.export.digest import check_digest
from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.formats import FORMATS, Format
from keras_lodin.export.metadata import (
    METADATA_FILE,
    artifact_metadata,
    no_metadata,
    parsed_metadata,
    sealed,
)
from keras_lodin.export.own_artifacts import check_file_is_own
from keras_lodin.export.runtime import artifact_in, on_trial, refusals_of_runtime
from keras_lodin.export.scorer import Scorer
from keras_lodin.export.trial_inputs import random_batches
from keras_lodin.utils.files import atomic_write
from keras_lodin.utils.needed_packages import imported_for


def export_litert(
    detector: Scorer,
    path: str | os.PathLike[str],
    *,
    verbose: bool = True,
    recorded: parity.Recorded | None = None,
) -> None:
    """Writes a `.tflite` file of LiteRT's own operations, for phones and small devices.

    It has the signatures of the SavedModel, `serving_default` (the batch) and `with_threshold`
    (the batch and a float32 scalar `threshold`), both with outputs `logits`, `score`,
    `is_ood` and `p_value`.
    The batch size is free: a signature's runner takes any. "Select TF ops" are not needed. What
    the file says about itself lies inside, as the JSON file `keras_lodin.json` of the zip archive
    at its end (where LiteRT's own tools keep associated files, too).

    Gradients want their kernels in another order than the forward pass, and LiteRT keeps both: the
    file is about twice as large as the weights.

    What cannot be converted is refused before anything is written: among others loops, image sizes
    that are free, and `UpSampling2D`, whose gradient has more axes than LiteRT's kernels take. What
    was written is compared with TensorFlow, outputs and input gradient, on random inputs of two
    batch sizes, before it is moved into place.

    Args:
        detector: the detector. Before `calibrate`, `is_ood` of `serving_default` is always False.
        path: the file to write or replace; ends in `.tflite`. A file that no export wrote is not
            replaced.
        verbose: whether to print where the file went.
        recorded: None, or what the detector gave on another backend, to hold the file to.

    Raises:
        ValueError: if the classifier cannot be converted, or the file disagrees with it.
        ImportError: if there is no LiteRT interpreter to check it with.
        OSError: if it cannot be written. Nothing half-written stays.

    Example:

    ```python
    detector.export("detector.tflite", format="litert")

    interpreter = ai_edge_litert.interpreter.Interpreter("detector.tflite")  # elsewhere
    interpreter.get_signature_runner("serving_default")(images=images)["is_ood"]
    ```
    """
    path = Path(path)
    check_file_is_own(path, ".tflite", "A LiteRT")
    batches = random_batches(detector)
    metadata = artifact_metadata(detector)
    with imported_for("An export to LiteRT"):
        from keras_lodin.export.litert.conversion import convert, rewritten
        from keras_lodin.export.reference import TensorFlowReference
        from keras_lodin.export.runnable import runnable
        from keras_lodin.export.serving_function import serving_function, with_threshold

    function = serving_function(detector, with_gradient=True)
    # The gradient is there to be looked at: a score hides much. The file goes without it.
    looked_at = convert({"with_threshold": rewritten(function)})
    reference = TensorFlowReference(detector, function, runnable(function))
    trial = partial(_verify, detector, batches, recorded)
    trial(reference, looked_at, with_gradient=True)
    serve = rewritten(function, without="gradient")
    serving_default = with_threshold(serve, detector.threshold)
    content = convert({"serving_default": serving_default, "with_threshold": serve})
    with atomic_write(path) as file:
        file.write_bytes(_with_metadata(content, metadata))
        trial(reference.without_gradient(), file.read_bytes(), with_gradient=False)
    if verbose:
        size = f"  {path.stat().st_size / 2**20:.1f} MB, LiteRT's own operations"
        announce(metadata, "LiteRT file", path, [size])


def _with_metadata(model: bytes, metadata: dict[str, Any]) -> bytes:
    """The bytes of a file: the flatbuffer, and behind it its metadata with the digest of both."""
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a") as archive:
        # Without a time of its own: the same detector gives the same file.
        archive.writestr(zipfile.ZipInfo(METADATA_FILE.name), sealed(metadata, [model]))
    return file.getvalue()


def _packed_metadata(content: bytes) -> tuple[bytes, int] | None:
    """What a file says about itself, and how many of its bytes are the model's own.

    These come before all packed files. None for a file that no export wrote.
    """
    # What a damaged archive can raise is not listed anywhere.
    with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = min(item.header_offset for item in archive.infolist())
        return archive.read(METADATA_FILE.name), start
    return None


class Signature:
    """A signature of a LiteRT file, a function of named arrays.

    Attributes:
        inputs: shapes by name, -1 where a size is free.
        outputs: so of the outputs.

    Raises:
        ImportError: if no interpreter is installed.
        ValueError: if the interpreter cannot run the file.
    """

    def __init__(self, content: bytes, name: str) -> None:
        with _refusals():
            self._runner = _interpreter(content).get_signature_runner(name)
        self.inputs, self.outputs = (
            {name: list(map(int, tensor["shape_signature"])) for name, tensor in details.items()}
            for details in (self._runner.get_input_details(), self._runner.get_output_details())
        )

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name."""
        with _refusals():
            outputs: dict[str, np.ndarray] = self._runner(**inputs)
        return outputs


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise FormatLimitError(
            "LiteRT's interpreter has no kernel for an operation of this file, or not for tensors "
            "of this many axes",
            str(error),
            "Replace the layer that it comes from by one of other operations.",
        ) from error


def _interpreter(content: bytes) -> Any:
    kind = None
    # TensorFlow warns that its own is about to go, and names the package that will have it.
    for module, path in (("ai_edge_litert.interpreter", ""), ("tensorflow", "lite.")):
        with contextlib.suppress(ImportError, AttributeError):
            kind = kind or attrgetter(f"{path}Interpreter")(importlib.import_module(module))
    if kind is None:
        raise ImportError(
            "There is no LiteRT interpreter here, in TensorFlow or beside it. Expected the package "
            "ai-edge-litert: pip install ai-edge-litert. Received: neither it, nor a TensorFlow "
            "that has one"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(model_content=content)


def _verify(
    detector: Scorer,
    batches: list[np.ndarray],
    recorded: parity.Recorded | None,
    reference: parity.Reference,
    content: bytes,
    *,
    with_gradient: bool,
) -> None:
    threshold = np.float32(detector.threshold)
    moved = on_trial(detector, Signature(content, "with_threshold"))
    runs: list[Callable[..., parity.Outputs]] = [partial(moved, threshold=threshold)]
    if not with_gradient:  # the file as it will be
        runs.append(on_trial(detector, Signature(content, "serving_default")))
    for run in runs:
        for batch in batches:
            parity.check(reference, run, batch, float(threshold))
        if recorded is not None:
            recorded.check(reference, run, float(threshold))
    parity.check_threshold(moved, batches[0])


def _load(path: Path) -> Artifact:
    content = path.read_bytes()
    packed = _packed_metadata(content)
    if packed is None:
        raise ValueError(
            "The .tflite file is damaged, or was not written by keras-lodin: it holds no score. "
            "Wrap the classifier in a detector, and export that; or copy the file again. "
            f"Received: path={path}"
        )
    text, model_size = packed
    metadata = parsed_metadata(text, path)
    check_digest(metadata, [content[:model_size]], path)
    with refusals_of_runtime("LiteRT", path):
        signature = Signature(content, "serving_default")
    return artifact_in("LiteRT", metadata, signature, path)


def _seal(path: Path) -> None:
    content = path.read_bytes()
    packed = _packed_metadata(content)
    if packed is None:
        raise no_metadata(path)
    text, model_size = packed
    metadata = parsed_metadata(text, path)
    with zipfile.ZipFile(path) as archive:
        others = {
            item: archive.read(item)
            for item in archive.infolist()
            if item.filename != METADATA_FILE.name
        }
    with atomic_write(path) as temporary:
        temporary.write_bytes(_with_metadata(content[:model_size], metadata))
        with zipfile.ZipFile(temporary, "a") as archive:
            for item, packed_file in others.items():
                archive.writestr(item, packed_file)


FORMATS.register("litert", position=3)(Format(".tflite", export_litert, _load, _seal))
