"""An exported detector, whatever the format: load, ask, score."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.data.batches import check_images
from keras_lodin.data.complexity import png_sizes
from keras_lodin.detectors.detector import Detector
from keras_lodin.export.metadata import METADATA_FILE, METADATA_KEY, artifact_metadata
from keras_lodin.input_range import checked_input_range
from keras_lodin.models.loading import load


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
            ValueError: for a batch of another shape.
        """
        try:
            batch = np.asarray(batch, dtype="float32")
        except (TypeError, ValueError):
            raise ValueError(
                f"The artifact takes arrays of numbers, of shape {self.input_shape}. Image files "
                f"are scored by `keras-lodin score`. Received: {batch!r:.200}"
            ) from None
        check_images(batch, self.input_shape[1:])
        return {name: np.asarray(value) for name, value in self._run(batch).items()}

    def __repr__(self) -> str:
        return f"Artifact({self.metadata['detector']}, input_shape={self.input_shape})"


def load_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Loads an exported or saved detector.

    Args:
        path: a SavedModel folder, an `.onnx` or a `.tflite` file that `Detector.export` wrote, or
            a `.keras` file that `Detector.save` wrote.

    Returns:
        an `Artifact`.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if what is there is not an artifact of this package.
    """
    path = Path(path)
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
    import tensorflow as tf

    if not (path / "saved_model.pb").is_file():
        raise ValueError(
            "The folder is not a SavedModel: there is no saved_model.pb in it. Expected a folder "
            f"that `detector.export(path)` or `keras-lodin export` wrote. Received: path={path}"
        )
    try:
        metadata = json.loads((path / METADATA_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            "The SavedModel was not written by keras-lodin: it holds a classifier and no "
            "score. Wrap the classifier in a detector, and export that. "
            f"Received: path={path}"
        ) from None
    loaded = tf.saved_model.load(str(path))

    def run(batch: np.ndarray) -> dict[str, Any]:
        # `loaded` is named here to keep it: TensorFlow frees the variables with it.
        signature = loaded.signatures["serving_default"]
        given = {metadata["input_name"]: batch, **_side_values(metadata, batch)}
        outputs = signature(**{name: tf.constant(value) for name, value in given.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return Artifact(metadata, run)


def _load_onnx(path: Path) -> Artifact:
    import onnxruntime

    try:
        options = onnxruntime.SessionOptions()
        # It warns that the threshold is an input with a default, which is what it is for.
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own classes of errors are not public
        raise ValueError(
            "onnxruntime cannot load the file: it is damaged, or no ONNX file. Export it again. "
            f"Received: path={path}, {error}"
        ) from error
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ValueError(
            "The ONNX file was not written by keras-lodin: it holds no score. Wrap the "
            f"classifier in a detector, and export that. Received: path={path}"
        )
    metadata = json.loads(text)
    names = metadata["output_names"]

    def run(batch: np.ndarray) -> dict[str, Any]:
        side = _side_values(metadata, batch)
        if metadata["data_format"] == "channels_first":
            batch = np.ascontiguousarray(np.moveaxis(batch, -1, 1))
        outputs = session.run(names, {metadata["input_name"]: batch, **side})
        return dict(zip(names, outputs, strict=True))

    return Artifact(metadata, run)


def _load_litert(path: Path) -> Artifact:
    from keras_lodin.export import litert

    metadata = litert.read_metadata(path)
    if metadata is None:
        raise ValueError(
            "The .tflite file was not written by keras-lodin: it holds no score. Wrap the "
            f"classifier in a detector, and export that. Received: path={path}"
        )
    score = litert.signature(path.read_bytes(), "serving_default")

    def run(batch: np.ndarray) -> dict[str, Any]:
        return score(**{metadata["input_name"]: batch, **_side_values(metadata, batch)})

    return Artifact(metadata, run)


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
