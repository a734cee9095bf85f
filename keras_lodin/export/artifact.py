"""An exported detector, whatever the format: load, ask, score."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lodin.data.batches import check_images
from keras_lodin.data.complexity import png_sizes
from keras_lodin.data.value_range import checked_input_range
from keras_lodin.detectors.detector import Detector
from keras_lodin.export.digest import (
    DIGEST_FIELD,
    metadata_digest,
    not_as_exported,
    onnx_digest_holds,
    saved_model_content,
)
from keras_lodin.export.file_operations import file_operations
from keras_lodin.export.metadata import (
    METADATA_FILE,
    METADATA_KEY,
    artifact_metadata,
    parsed_metadata,
)
from keras_lodin.export.onnx.file import onnx_metadata
from keras_lodin.export.serving_function import OUTPUT_NAMES
from keras_lodin.models.loading import load
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import clear_leftovers


class Artifact:
    """A detector that was exported or saved, ready to score.

    Get one from `load_artifact`.

    Args:
        metadata: what the artifact says about itself, see `artifact_metadata`.
        run: maps a float32 batch to the outputs by name.

    Attributes:
        metadata: as given.

    Example:
    ```python
    artifact = keras_lodin.export.load_artifact("detector.onnx")
    artifact.score(images)["is_ood"]
    ```
    """

    def __init__(
        self, metadata: dict[str, Any], run: Callable[[np.ndarray], Mapping[str, Any]]
    ) -> None:
        self.metadata = metadata
        self._run = run

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of a batch, channels last whatever the file's own; None where a size is free."""
        shape = self.metadata["input_shape"]
        if self.metadata.get("data_format") == "channels_first":
            return (shape[0], *shape[2:], shape[1])
        return tuple(shape)

    @property
    def input_range(self) -> tuple[Any, Any]:
        """Lowest and highest input value that the classifier was made for: two floats, or two
        float32 arrays with one number for each feature.
        """
        return checked_input_range(self.metadata["input_range"], self.input_shape[1:])

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of the logits, or None."""
        names = self.metadata["class_names"]
        return None if names is None else tuple(names)

    @property
    def threshold(self) -> float:
        """Scores at or below this are out-of-distribution; minus infinity if never calibrated."""
        threshold = self.metadata["threshold"]
        return -np.inf if threshold is None else threshold

    def score(self, batch: Any) -> dict[str, np.ndarray]:
        """Scores a batch.

        Args:
            batch: array of shape `input_shape`, channels last. Integers are cast to float32; no
                scaling is applied.

        Returns:
            `{"logits": float32 (batch, classes), "score": float32 (batch,), "is_ood": bool
            (batch,)}`. Higher scores mean more in-distribution.

        Raises:
            ValueError: for a batch of another shape, or if the artifact cannot be run or gives
                other outputs than a detector's.
        """
        batch = _numbers(batch, self.input_shape)
        check_images(batch, self.input_shape[1:])
        outputs = {name: np.asarray(value) for name, value in self._run(batch).items()}
        shapes = {"logits": (len(batch), self.metadata["num_classes"])}
        for name in OUTPUT_NAMES:
            shape = shapes.get(name, (len(batch),))
            if name not in outputs or outputs[name].shape != shape:
                raise ValueError(
                    f"The artifact must give {name!r} of shape {shape}; it is damaged or was "
                    "edited, export the detector again. Received: "
                    + ", ".join(f"{key} of shape {value.shape}" for key, value in outputs.items())
                )
        return outputs

    def __repr__(self) -> str:
        return f"Artifact({self.metadata['detector']}, input_shape={self.input_shape})"


def _numbers(batch: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """The batch as float32; texts of numbers are texts, and no complex number is its real part."""
    try:
        array = np.asarray(batch)
        if array.dtype.kind not in "USOcmM":
            return array.astype("float32")
    except (TypeError, ValueError):  # rows of unequal lengths, structures
        pass
    raise ValueError(
        f"The artifact takes arrays of numbers, of shape {shape}. Image files are scored by "
        f"`keras-lodin score`. Received: {batch!r:.200}"
    )


def load_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Loads an exported or saved detector.

    Args:
        path: a SavedModel folder, an `.onnx` or a `.tflite` file that `Detector.export` wrote, or
            a `.keras` file that `Detector.save` wrote.

    Returns:
        an `Artifact`.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if what is there is not an artifact of this package, is damaged or was edited
            (see `keras_lodin.export.seal`), or is a SavedModel that reaches for files.
    """
    path = checked_path("path", path)
    if not path.exists():
        # An export that was killed while it replaced a folder may have left the old one aside.
        clear_leftovers(path.parent)
    if not path.exists():
        raise FileNotFoundError(
            "There is no artifact at that path; `detector.export(path)` or `keras-lodin export` "
            f"writes one. Received: path={path}"
        )
    if path.is_dir():
        return _load_saved_model(path)
    if path.suffix == ".onnx":
        return _load_onnx(path)
    if path.suffix == ".tflite":
        return _load_litert(path)
    if path.suffix == ".keras":
        return _load_keras(path)
    raise ValueError(
        "An artifact is a SavedModel folder, or an .onnx, .tflite or .keras file. "
        f"Received: path={path}"
    )


def _load_saved_model(path: Path) -> Artifact:
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
    _check_digest(metadata, saved_model_content(path), path)
    found = file_operations(path)
    if found:
        raise ValueError(
            "A SavedModel is a program, and this one reaches beyond its own tensors: it reads or "
            "writes files, opens connections or runs Python, which no detector does. Nothing of "
            "it was run. Export the detector again, from its own .keras file. "
            f"Received: the operations {', '.join(found)} in path={path}"
        )
    with _refusals_of_runtime("TensorFlow", path):
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        _, inputs = signature.structured_input_signature
        outputs = signature.structured_outputs
        _check_agreement(
            metadata,
            {name: spec.shape.as_list() for name, spec in inputs.items()},
            {name: spec.shape.as_list() for name, spec in outputs.items()},
            path,
        )

    def run(given: dict[str, np.ndarray]) -> dict[str, Any]:
        # `loaded` is named here to keep it: TensorFlow frees the variables with it.
        signature = loaded.signatures["serving_default"]
        found = signature(**{name: tf.constant(value) for name, value in given.items()})
        return {name: value.numpy() for name, value in found.items()}

    return Artifact(metadata, _runner(metadata, run, "TensorFlow", path))


def _load_onnx(path: Path) -> Artifact:
    import onnxruntime

    digest = onnx_digest_holds(path)
    if digest is False:
        # Whoever edited the metadata is told which field is wrong, where one is.
        text = onnx_metadata(path)
        if text is not None:
            parsed_metadata(text, path)
        raise not_as_exported(path)
    with _refusals_of_runtime("onnxruntime", path):
        options = onnxruntime.SessionOptions()
        # It warns that the threshold is an input with a default, which is what it is for.
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ValueError(
            "The ONNX file was not written by keras-lodin: it holds no score. Wrap the "
            f"classifier in a detector, and export that. Received: path={path}"
        )
    metadata = parsed_metadata(text, path)
    if digest is None and "metadata_version" in metadata:
        raise not_as_exported(path)
    given = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    _check_agreement(metadata, given, outputs, path)

    def run(given: dict[str, np.ndarray]) -> dict[str, Any]:
        return dict(zip(OUTPUT_NAMES, session.run(OUTPUT_NAMES, given), strict=True))

    return Artifact(metadata, _runner(metadata, run, "onnxruntime", path))


def _load_litert(path: Path) -> Artifact:
    from keras_lodin.export.litert import file as litert

    content = path.read_bytes()
    packed = litert.packed_metadata(content)
    if packed is None:
        raise ValueError(
            "The .tflite file is damaged, or was not written by keras-lodin: it holds no score. "
            "Wrap the classifier in a detector, and export that; or copy the file again. "
            f"Received: path={path}"
        )
    text, model_size = packed
    metadata = parsed_metadata(text, path)
    _check_digest(metadata, [content[:model_size]], path)
    with _refusals_of_runtime("LiteRT", path):
        score = litert.Signature(content, "serving_default")
    _check_agreement(metadata, score.inputs, score.outputs, path)

    def run(given: dict[str, np.ndarray]) -> dict[str, Any]:
        return score(**given)

    return Artifact(metadata, _runner(metadata, run, "LiteRT", path))


def _check_digest(metadata: dict[str, Any], content: Iterable[bytes], path: Path) -> None:
    """Refuses what is not as exported; files of version 1 of the metadata have no digest."""
    if "metadata_version" not in metadata and DIGEST_FIELD not in metadata:
        return
    if metadata.get(DIGEST_FIELD) != metadata_digest(metadata, content):
        raise not_as_exported(path)


def _check_agreement(
    metadata: dict[str, Any],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    path: Path,
) -> None:
    """Refuses metadata that speak of another model than the one beside them.

    Args:
        metadata: of the artifact.
        inputs: shapes of the model's inputs by name; what is no whole number above 0 is free.
        outputs: so of its outputs.
        path: of the artifact, for messages.
    """
    said = {metadata["input_name"]: metadata["input_shape"]}
    said |= {name: [None] for name in metadata["side_inputs"]}
    # An ONNX file has the threshold as an input, with a default.
    there = {name: shape for name, shape in inputs.items() if name in said or name != "threshold"}
    logits = {"logits": [None, metadata["num_classes"]]}
    fits = (
        said.keys() == there.keys()
        and set(OUTPUT_NAMES) <= outputs.keys()
        and all(_agree(shape, there[name]) for name, shape in said.items())
        and all(_agree(shape, outputs[name]) for name, shape in logits.items())
    )
    if not fits:
        raise ValueError(
            "The artifact's metadata are of another model than the one that it holds: it is "
            f"damaged or was edited; export the detector again. Expected the inputs {said} and "
            f"the outputs {logits}, score and is_ood. Received: the inputs {dict(there)} and the "
            f"outputs {dict(outputs)} in path={path}"
        )


def _agree(said: Sequence[Any], there: Sequence[Any]) -> bool:
    """Whether two shapes can be the same; a size that either leaves free agrees with any."""

    def is_free(size: Any) -> bool:
        return not isinstance(size, int) or size < 1

    return len(said) == len(there) and all(
        is_free(one) or is_free(other) or one == other
        for one, other in zip(said, there, strict=True)
    )


def _runner(
    metadata: dict[str, Any],
    run: Callable[[dict[str, np.ndarray]], Mapping[str, Any]],
    runtime: str,
    path: Path,
) -> Callable[[np.ndarray], Mapping[str, Any]]:
    """A function of a batch, channels last, out of one of the model's own inputs by name."""

    def run_batch(batch: np.ndarray) -> Mapping[str, Any]:
        side = _side_values(metadata, batch)
        if metadata.get("data_format") == "channels_first":
            batch = np.ascontiguousarray(np.moveaxis(batch, -1, 1))
        with _refusals_of_runtime(runtime, path):
            return run({metadata["input_name"]: batch, **side})

    return run_batch


@contextlib.contextmanager
def _refusals_of_runtime(runtime: str, path: Path) -> Iterator[None]:
    """Turns what a runtime raises into ValueError: the classes of its errors are not public."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) and "Received: " in str(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{runtime} cannot run the artifact: it is damaged, or of another kind. Export the "
            f"detector again. Received: path={path}, {reason:.300}"
        ) from error


def _side_values(metadata: dict[str, Any], batch: np.ndarray) -> dict[str, np.ndarray]:
    """What an artifact takes beside the batch: at most the images' complexity."""
    low, high = metadata["input_range"]
    return {name: png_sizes(batch, (low, high)).numpy() for name in metadata["side_inputs"]}


def _load_keras(path: Path) -> Artifact:
    detector = load(path)
    if not isinstance(detector, Detector):
        raise ValueError(
            "The file holds a model that is not a detector. Wrap the classifier in one, "
            "calibrate it and save that, as `keras-lodin tune` does. Received: a model of type "
            f"{type(detector).__name__} in path={path}"
        )
    return Artifact(artifact_metadata(detector), detector.predict_on_batch)
