"""A model in the runtime that is to run it, held to what its metadata say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.data.complexity import png_sizes
from keras_lodin.export.artifact import Artifact
from keras_lodin.export.serving_function import OUTPUT_NAMES


def artifact_in(
    runtime: str,
    metadata: dict[str, Any],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    run: Callable[[dict[str, np.ndarray]], Mapping[str, Any]],
    path: Path,
) -> Artifact:
    """The artifact that a runtime has loaded.

    Args:
        runtime: its name, for messages.
        metadata: of the artifact.
        inputs: shapes of the model's inputs by name; what is no whole number above 0 is free.
        outputs: so of its outputs.
        run: the model as a function of its inputs by name.
        path: of the artifact, for messages.

    Raises:
        ValueError: for metadata that speak of another model than the one beside them.
    """
    _check_agreement(metadata, inputs, outputs, path)

    def run_batch(batch: np.ndarray) -> Mapping[str, Any]:
        low, high = metadata["input_range"]
        # At most the complexity of images.
        side = {name: png_sizes(batch, (low, high)).numpy() for name in metadata["side_inputs"]}
        if metadata.get("data_format") == "channels_first":
            batch = np.ascontiguousarray(np.moveaxis(batch, -1, 1))
        with refusals_of_runtime(runtime, path):
            return run({metadata["input_name"]: batch, **side})

    return Artifact(metadata, run_batch)


@contextlib.contextmanager
def refusals_of_runtime(runtime: str, path: Path) -> Iterator[None]:
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


def _check_agreement(
    metadata: dict[str, Any],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    path: Path,
) -> None:
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
