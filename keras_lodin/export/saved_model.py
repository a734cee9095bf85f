"""A detector as a TensorFlow SavedModel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keras_lodin.export import parity
from keras_lodin.export.announcement import announce
from keras_lodin.export.artifact import Artifact
from keras_lodin.export.digest import check_digest, saved_model_content
from keras_lodin.export.formats import FORMATS, Format
from keras_lodin.export.metadata import (
    METADATA_FILE,
    artifact_metadata,
    no_metadata,
    parsed_metadata,
    sealed,
)
from keras_lodin.export.own_artifacts import check_folder_is_own
from keras_lodin.export.runtime import artifact_in, on_trial, refusals_of_runtime
from keras_lodin.export.scorer import Scorer
from keras_lodin.export.trial_inputs import random_batches
from keras_lodin.utils.files import atomic_write
from keras_lodin.utils.needed_packages import imported_for

# Names that promise a file of another kind, and what writes it.
_WRITTEN_BY = {
    ".onnx": "`export` with format='onnx'",
    ".tflite": "`export` with format='litert'",
    ".keras": "`detector.save`",
}


def export_saved_model(
    detector: Scorer,
    path: str | os.PathLike[str],
    *,
    verbose: bool = True,
    recorded: parity.Recorded | None = None,
) -> None:
    """Writes a SavedModel that scores without this package and without Keras.

    It has two signatures, both with outputs `logits` (float32, `(batch, classes)`), `score`
    (float32, `(batch,)`, higher = more in-distribution), `is_ood` (bool, `(batch,)`) and `p_value`
    (float32, `(batch,)`):

    * `serving_default` takes the batch (and the detector's `side_inputs`, if it has any), and
      decides by the calibrated threshold;
    * `with_threshold` takes a float32 scalar `threshold` as well.

    The input is named after the classifier's input, or `images`. It is float32 with a free batch
    size: a client that holds integers (pixels in bytes) casts them first; the values stay as they
    are, no scaling is added. The weights are stored once. What the artifact says about itself is
    in `assets.extra/keras_lodin.json`.

    Before it is moved into place the SavedModel is loaded again and must give the detector's own
    outputs, on random inputs of two batch sizes.

    Args:
        detector: the detector. Before `calibrate`, `is_ood` of the artifact is always False.
        path: the folder to write or replace. What is replaced is an earlier export and nothing
            else: a folder with other files in it is refused.
        verbose: whether to print where the artifact went.
        recorded: None, or what the detector gave on another backend, to hold the artifact to.

    Raises:
        ValueError: if the detector cannot be traced, the artifact disagrees with it, or the folder
            holds something that no export wrote.
        OSError: if it cannot be written. Nothing half-written stays.

    Example:
    ```python
    detector.export("artifact", format="tf_saved_model")

    loaded = tf.saved_model.load("artifact")  # elsewhere, without keras_lodin
    loaded.signatures["serving_default"](images=images)["is_ood"]
    ```
    """
    path = Path(path)
    _check_replaceable(path)
    metadata = artifact_metadata(detector)
    with imported_for("An export to a SavedModel"):
        from keras_lodin.export import saved_program
        from keras_lodin.export.reference import TensorFlowReference
        from keras_lodin.export.serving_function import serving_function

    serve = serving_function(detector)
    reference = TensorFlowReference(detector, serve)
    with atomic_write(path) as temporary:
        saved_program.write(serve, detector.threshold, temporary)
        metadata_path = temporary / METADATA_FILE
        metadata_path.parent.mkdir()
        _write_metadata(metadata_path, metadata, temporary)
        run = on_trial(detector, saved_program.Signature(temporary))
        _verify(reference, run, detector, recorded)
    if verbose:
        announce(metadata, "SavedModel", path)


def _check_replaceable(path: Path) -> None:
    """Refuses a file, a file's name, and a folder that holds something other than an export."""
    if path.suffix in _WRITTEN_BY:
        raise ValueError(
            f"A SavedModel is a folder, and a name that ends in {path.suffix} is that of a file, "
            f"which {_WRITTEN_BY[path.suffix]} writes. Received: path={path}"
        )
    if path.is_file():
        raise ValueError(
            f"A SavedModel is a folder, and there is a file of that name. Received: path={path}"
        )
    check_folder_is_own(path)


def _write_metadata(file: Path, metadata: dict[str, Any], folder: Path) -> None:
    file.write_text(sealed(metadata, saved_model_content(folder)) + "\n", encoding="utf-8")


def _verify(
    reference: parity.Reference, run: parity.Run, detector: Scorer, recorded: parity.Recorded | None
) -> None:
    for batch in random_batches(detector):
        parity.check(reference, run, batch, detector.threshold)
    if recorded is not None:
        recorded.check(reference, run, detector.threshold)


def _load(path: Path) -> Artifact:
    if not (path / "saved_model.pb").is_file():
        raise ValueError(
            "The folder is not a SavedModel: there is no saved_model.pb in it. Expected a folder "
            f"that `detector.export(path)` or `keras-lodin export` wrote. Received: path={path}"
        )
    try:
        text = (path / METADATA_FILE).read_bytes()
    except FileNotFoundError:
        raise ValueError(
            "The SavedModel was not written by keras-lodin: it holds a classifier and no "
            "score. Wrap the classifier in a detector, and export that. "
            f"Received: path={path}"
        ) from None
    metadata = parsed_metadata(text, path)
    check_digest(metadata, saved_model_content(path), path)
    with imported_for("A SavedModel"):
        from keras_lodin.export.file_operations import file_operations
        from keras_lodin.export.saved_program import Signature

    found = file_operations(path)
    if found:
        raise ValueError(
            "A SavedModel is a program, and this one reaches beyond its own tensors: it reads or "
            "writes files, opens connections or runs Python, which no detector does. Nothing of "
            "it was run. Export the detector again, from its own .keras file. "
            f"Received: the operations {', '.join(found)} in path={path}"
        )
    with refusals_of_runtime("TensorFlow", path):
        signature = Signature(path)
    return artifact_in("TensorFlow", metadata, signature, path)


def _seal(path: Path) -> None:
    file = path / METADATA_FILE
    if not file.is_file():
        raise no_metadata(path)
    metadata = parsed_metadata(file.read_bytes(), path)
    with atomic_write(file) as temporary:
        _write_metadata(temporary, metadata, path)


FORMATS.register("tf_saved_model", position=1)(Format(None, export_saved_model, _load, _seal))
