"""What several jobs need: a detector from a file, and data in the form that it takes."""

from __future__ import annotations

import os
from dataclasses import dataclass

from keras_lodin import data, models
from keras_lodin.classifier_head import find_head
from keras_lodin.detectors import Detector, by_name


@dataclass(frozen=True)
class InputFormat:
    """The shape and range of values that a classifier takes.

    Attributes:
        shape: shape of one input; None where a size is free.
        input_range: `(lo, hi)` of its values.
    """

    shape: tuple[int | None, ...]
    input_range: tuple[float, float]

    def load(
        self, specification: str, part: str, data_dir: str | os.PathLike | None
    ) -> data.Source:
        """Data in this format, see `keras_lodin.data.load`."""
        return data.load(
            specification,
            part=part,
            image_shape=self.shape,
            input_range=self.input_range,
            data_dir=data_dir,
        )


def load_detectors(
    path: str | os.PathLike,
    names: list[str] | None,
    input_range: tuple[float, float] | None,
) -> tuple[dict[str, Detector], InputFormat]:
    """The detectors to run on a model file.

    Args:
        path: a `.keras` file or the folder of a training run. A classifier is wrapped in the
            detectors named; a detector is taken as it is.
        names: names of detectors, None for all.
        input_range: range of the classifier's inputs; None for the detector's own, or judged by
            the classifier's first layers.

    Returns:
        the detectors by name, and the format of their inputs.

    Raises:
        ValueError: for unknown names, or names for a file that is a detector already.
        FileNotFoundError: if there is no such file.
    """
    model = models.load(path)
    if isinstance(model, Detector):
        if names:
            raise ValueError(
                "The file is a detector already, with a score of its own. Name detectors for "
                f"classifiers only. Received: path={str(path)!r}, detectors={names}"
            )
        known = input_range or getattr(model, "input_range", None)
        chosen = known or models.guess_input_range(model.classifier)
        return (
            {by_name.name_of(model): model},
            InputFormat(model.input_shape_with_batch[1:], chosen),
        )
    head = find_head(model)
    chosen = input_range or models.guess_input_range(model)
    detectors = {
        name: by_name.build(name, model, chosen, from_logits=head.from_logits)
        for name in names or by_name.names()
    }
    return detectors, InputFormat(head.input_shape[1:], chosen)
