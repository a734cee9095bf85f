"""What detectors share that need the mean of all training features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.statistics.class_means import ClassMeans
from keras_lodin.detectors.statistics_detector import StatisticsDetector


class MeanDetector(StatisticsDetector, HeadDetector):
    """Base class of detectors whose only statistics are the mean of features over all classes.

    A subclass makes its weights of `statistics["all"].mean` in `assign_statistics`.
    """

    in_every_evaluation = False
    needs_labels = False

    def new_statistics(self) -> dict[str, ClassMeans]:
        """The mean of no sample."""
        return {"all": ClassMeans(1, self.head.size)}

    def observe(
        self,
        statistics: Mapping[str, ClassMeans],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Takes features into their mean, whatever the class."""
        statistics["all"].update(features[0], np.zeros(len(logits), "int64"))
