"""Labels of data in the order of a classifier's classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_lodin.data.batches import check_labels
from keras_lodin.data.class_names import class_names_of, label_places
from keras_lodin.data.source import Source


class LabelPlaces:
    """Labels of data as a classifier counts them, batch by batch.

    By the names of the classes where both the data and the classifier have names, and by position
    elsewhere.

    Args:
        num_classes: the classifier's number of classes.
        class_names: their names in the order of the logits, or None.
        data: what the labels are from; its `class_names` are used if it has some.

    Attributes:
        num_classes: as given.
        name: what messages call the data.

    Raises:
        ValueError: for data with a class that the classifier does not know.
    """

    def __init__(self, num_classes: int, class_names: Sequence[str] | None, data: object) -> None:
        self.name = f"`{data.name}`" if isinstance(data, Source) else "the data"
        self.num_classes = num_classes
        empty = data.empty_classes if isinstance(data, Source) else ()
        self._places = label_places(class_names_of(data), class_names, self.name, empty)

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """The classes of labels, int64 of shape `(batch,)`.

        Raises:
            ValueError: for labels that there is no class for.
        """
        if self._places is not None:
            check_labels(labels, len(self._places))
            labels = self._places[labels]
        check_labels(labels, self.num_classes)
        return labels
