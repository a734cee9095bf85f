"""How many labels a classifier knows, and the warning where they are no more than chance gives."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np

from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.data.value_range import CLASSIFIER, DATA, InputRange

# Of fewer labels even a good classifier may know no more than chance would.
_FEWEST = 10
_SIGNIFICANCE = 0.05


class Accuracy:
    """Counts the labels that a classifier predicts, batch by batch.

    Args:
        place: the data's labels as the classifier counts them.

    Attributes:
        count: how many labels there were.
        correct: how many were predicted.
    """

    def __init__(self, place: LabelPlaces) -> None:
        self._place = place
        self.count = self.correct = 0

    def update(self, predictions: np.ndarray, labels: np.ndarray | None) -> None:
        """Takes the predicted and the true classes of a batch into account, `(batch,)` each.

        Raises:
            ValueError: for labels that the classifier has no class for.
        """
        if labels is not None:
            self.count += len(labels)
            self.correct += int(np.sum(predictions == self._place(labels)))

    @property
    def value(self) -> float | None:
        """The fraction of the labels that were predicted; None without labels."""
        return self.correct / self.count if self.count else None

    def warn_of_chance(self, input_range: InputRange, model: str = "The classifier") -> None:
        """Warns where the classifier knows no more labels than chance would."""
        if is_chance(self.correct, self.count, self._place.num_classes):
            what = f"{self.correct} of {self.count} labels of {self._place.name}"
            warn_of_chance(model, what, self._place.num_classes, input_range)


def joint_accuracy(parts: Iterable[Accuracy]) -> float | None:
    """The fraction of the labels of several data sets that were predicted.

    None where one of them has no labels: it would be the accuracy of other data than those asked
    for.
    """
    parts = list(parts)
    if not all(part.count for part in parts):
        return None
    return sum(part.correct for part in parts) / sum(part.count for part in parts)


def warn_of_chance(model: str, what: str, num_classes: int, input_range: InputRange) -> None:
    """Warns that a classifier knows no more labels than chance would, with the likeliest reason.

    Args:
        model: what to call the classifier.
        what: which labels it predicts, and of how many.
        num_classes: its number of classes.
        input_range: the range of its inputs, and how it is known.
    """
    if input_range.known:
        shown = {CLASSIFIER: ", as its first layers show", DATA: ", as its data show"}
        reason = (
            f"its inputs are taken to be {input_range}{shown.get(input_range.origin, '')}; if "
            "that is right, they were prepared in another way than in its training (channel "
            "order, standardisation), its classes are in another order, or it is not trained"
        )
    else:
        reason = (
            f"its inputs were assumed to be {input_range}, and nothing shows that they are: "
            "pass the range that it takes as `input_range` (--input-range LO HI)"
        )
    warnings.warn(
        f"{model} predicts {what}, no better than chance among {num_classes} classes. The most "
        f"likely reason: {reason}.",
        UserWarning,
        stacklevel=3,
    )


def is_chance(correct: int, count: int, num_classes: int) -> bool:
    """Whether so many correct predictions of `count` cannot be told from guesses, or are fewer.

    Guesses are as good with a probability above 5 % (one-sided binomial test). Of fewer than 10
    labels nothing can be told, and the answer is False.
    """
    if count < _FEWEST:
        return False
    from scipy.stats import binom

    return bool(binom.sf(correct - 1, count, 1.0 / num_classes) > _SIGNIFICANCE)
