"""What labels say of a classifier's inputs: with the right range it knows them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from keras import ops

from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.data.passes import BatchFunction
from keras_lodin.data.source import Source
from keras_lodin.data.value_range import DATA, Bounds, InputRange
from keras_lodin.detectors import Detector
from keras_lodin.evaluation.accuracy import Accuracy, is_chance
from keras_lodin.utils.tensor import Tensor

_CANDIDATES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))
_BATCH_SIZE, _BATCHES = 64, 4
# How many standard deviations one range must be better by than another.
_CLEARLY = 3.0


def settled_by_labels(
    logits_of: Callable[[Tensor], Tensor],
    source_in: Callable[[Bounds], Source],
    assumed: InputRange,
) -> InputRange:
    """The usual range of images with which a classifier predicts most labels.

    Args:
        logits_of: the classifier's logits of a batch, `(batch, classes)`.
        source_in: the same labelled images in a range. A few hundred are read, from all over.
        assumed: the range so far, which is not known.

    Returns:
        an `InputRange` of origin "data" if one of 0 to 1, 0 to 255 and -1 to 1 is clearly better
        than the others, and better than chance; else `assumed`.
    """
    predict = BatchFunction(lambda inputs: ops.argmax(logits_of(inputs), axis=-1))
    classes = int(logits_of(np.zeros((1, *source_in(_CANDIDATES[0]).shape), "float32")).shape[-1])
    right = {bounds: _right(predict, source_in(bounds)) for bounds in _CANDIDATES}
    best = max(right, key=lambda bounds: int(right[bounds].sum()))
    count, correct = len(right[best]), int(right[best].sum())
    others = [values for bounds, values in right.items() if bounds != best]
    if is_chance(correct, count, classes) or not all(
        _clearly_better(right[best], values) for values in others
    ):
        return assumed
    return InputRange(*best, DATA)


def warn_where_labels_are_chance(detector: Detector, source: Source) -> None:
    """Warns where a classifier knows the labels of in-distribution data no better than chance.

    A few hundred are read, from all over. The detector's range of inputs is the likeliest reason.
    """
    predict = BatchFunction(lambda inputs: ops.argmax(detector(inputs)["logits"], axis=-1))
    accuracy = Accuracy(LabelPlaces(detector.num_classes, detector.class_names, source))
    for inputs, labels in source.training_batches(_BATCH_SIZE, 0, 0, 1).take(_BATCHES):
        accuracy.update(predict(inputs), np.asarray(labels))
    accuracy.warn_of_chance(detector.judged_input_range)


def _right(predict: BatchFunction, source: Source) -> np.ndarray:
    batches = source.training_batches(_BATCH_SIZE, 0, 0, 1).take(_BATCHES)
    return np.concatenate([predict(inputs) == np.asarray(labels) for inputs, labels in batches])


def _clearly_better(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether one of two classifiers predicts more of the same labels, by McNemar's statistic."""
    gained, lost = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    return gained - lost > _CLEARLY * np.sqrt(gained + lost)
