"""A model in the runtime that is to run it, held to what its metadata say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_lodin.data.complexity import png_sizes
from keras_lodin.export.artifact import Artifact
from keras_lodin.export.outputs import input_name
from keras_lodin.export.scorer import Scorer

# What is no whole number above 0 is free.
Shapes = Mapping[str, Sequence[object]]


class Model(Protocol):
    """What a runtime has loaded: a function of arrays by name."""

    @property
    def inputs(self) -> Shapes:
        """Shapes of its inputs by name."""

    @property
    def outputs(self) -> Shapes:
        """Shapes of its outputs by name."""

    def __call__(self, **inputs: np.ndarray) -> Mapping[str, np.ndarray]:
        """The outputs by name."""


def artifact_in(runtime: str, metadata: dict[str, Any], model: Model, path: Path) -> Artifact:
    """The artifact that a runtime has loaded.

    Args:
        runtime: its name, for messages.
        metadata: of the artifact.
        model: what was loaded.
        path: of the artifact, for messages.

    Raises:
        ValueError: for metadata that speak of another model than the one beside them.
    """
    _check_agreement(metadata, model, path)

    def run_batch(batch: np.ndarray) -> Mapping[str, np.ndarray]:
        low, high = metadata["input_range"]
        # At most the complexity of images.
        side = {name: np.asarray(png_sizes(batch, (low, high))) for name in metadata["side_inputs"]}
        batch = _laid_out(batch, metadata.get("data_format"))
        with refusals_of_runtime(runtime, path):
            return model(**{metadata["input_name"]: batch, **side})

    return Artifact(metadata, run_batch)


def on_trial(
    detector: Scorer, model: Model, data_format: str = "channels_last"
) -> Callable[..., Mapping[str, np.ndarray]]:
    """A model that was written of a detector, as a function of a batch with the channels last.

    Args:
        detector: the detector.
        model: the model.
        data_format: where the channels of the model's input are.

    Returns:
        a function of a batch, and of further inputs by name. Side inputs have example values.
    """

    def run(batch: np.ndarray, **more: np.ndarray) -> Mapping[str, np.ndarray]:
        side = detector.example_side_values(len(batch))
        return model(**{input_name(detector): _laid_out(batch, data_format), **side, **more})

    return run


def _laid_out(batch: np.ndarray, data_format: str | None) -> np.ndarray:
    if data_format != "channels_first":
        return batch
    return np.ascontiguousarray(np.moveaxis(batch, -1, 1))


@contextlib.contextmanager
def refusals_of_runtime(runtime: str, path: Path) -> Iterator[None]:
    """Turns what a runtime raises into ValueError: the classes of its errors are not public."""
    try:
        yield
    except ImportError:  # there is no such runtime here, whatever the file is
        raise
    except Exception as error:
        if isinstance(error, ValueError) and "Received: " in str(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{runtime} cannot run the artifact: it is damaged, or of another kind. Export the "
            f"detector again. Received: path={path}, {reason:.300}"
        ) from error


def _check_agreement(metadata: dict[str, Any], model: Model, path: Path) -> None:
    said = {metadata["input_name"]: metadata["input_shape"]}
    said |= {name: [None] for name in metadata["side_inputs"]}
    # An ONNX file has the threshold as an input, with a default.
    there = {n: shape for n, shape in model.inputs.items() if n in said or n != "threshold"}
    logits = {"logits": [None, metadata["num_classes"]]}
    fits = (
        said.keys() == there.keys()
        and set(metadata["output_names"]) <= model.outputs.keys()
        and all(_agree(shape, there[name]) for name, shape in said.items())
        and all(_agree(shape, model.outputs[name]) for name, shape in logits.items())
    )
    if not fits:
        raise ValueError(
            "The artifact's metadata are of another model than the one that it holds: it is "
            f"damaged or was edited; export the detector again. Expected the inputs {said} and "
            f"the outputs {', '.join(metadata['output_names'])} with {logits}. Received: the "
            f"inputs {there} and the outputs {dict(model.outputs)} in path={path}"
        )


def _agree(said: Sequence[object], there: Sequence[object]) -> bool:
    """Whether two shapes can be the same; a size that either leaves free agrees with any."""

    def is_free(size: object) -> bool:
        return not isinstance(size, int) or size < 1

    return len(said) == len(there) and all(
        is_free(one) or is_free(other) or one == other
        for one, other in zip(said, there, strict=True)
    )
