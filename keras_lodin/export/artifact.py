"""An exported detector, whatever the format: load, ask, score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_lodin.data.batches import check_images
from keras_lodin.data.value_range import checked_input_range
from keras_lodin.utils.tensor import Tensor


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
        self, metadata: dict[str, Any], run: Callable[[np.ndarray], Mapping[str, Tensor]]
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
    def input_range(self) -> tuple[Tensor, Tensor]:
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

    def score(self, batch: npt.ArrayLike) -> dict[str, np.ndarray]:
        """Scores a batch.

        Args:
            batch: array of shape `input_shape`, channels last. Integers are cast to float32; no
                scaling is applied.

        Returns:
            `{"logits": float32 (batch, classes), "score": float32 (batch,), "is_ood": bool
            (batch,), "p_value": float32 (batch,)}`. Higher scores mean more in-distribution. Files
            from before there were p-values have none.

        Raises:
            ValueError: for a batch of another shape, or if the artifact cannot be run or gives
                other outputs than a detector's.
        """
        batch = _numbers(batch, self.input_shape)
        check_images(batch, self.input_shape[1:])
        outputs = {name: np.asarray(value) for name, value in self._run(batch).items()}
        shapes = {"logits": (len(batch), self.metadata["num_classes"])}
        for name in self.metadata["output_names"]:
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


def _numbers(batch: npt.ArrayLike, shape: tuple[int | None, ...]) -> np.ndarray:
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
