"""The Mahalanobis distance to the nearest class, relative to that to all data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.directions import on_sphere, row_of_largest, rows_on_sphere
from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.settings import checked_flag, checked_shrinkage
from keras_lodin.detectors.statistics.class_statistics import (
    ClassStatistics,
    relative_to_all,
    whiten,
)
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.utils.numbers import shortest_float
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "rmds",
    description="the distance from the nearest class, less that from all data (Ren et al. 2021)",
    position=12,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class RMDSDetector(StatisticsDetector, HeadDetector):
    """Scores by the relative Mahalanobis distance (Ren, Fort, Liu, Roy, Padhy & Lakshminarayanan).

        score = max_c -(d_c^2 - d_0^2)

        d_c^2 = (h - mu_c)^T S^-1 (h - mu_c),      S the covariance that all classes share
        d_0^2 = (h - mu)^T (S + B)^-1 (h - mu),    B that of the class means

    (2021). Of h, what enters the last layer, only what tells classes apart is left: in every other
    direction both distances are equal. Higher = more in-distribution; above 0 for what lies nearer
    to a class than to all of them.

    `adapt` takes the statistics of labelled TRAINING data. A saved or exported file has
    `features * classes` numbers more. Of a vision transformer h should be the class token: averaged
    tokens lose most of what the score needs.

    Args:
        classifier: see `Detector`; its last layer is linear.
        shrinkage: a in `(1 - a) S + a tr(S) / features I`, which takes the place of S in both
            distances; see `MahalanobisDetector`. Without full rank and at 0, both distances leave
            out the directions in which S has no variance.
        normalize: whether features are divided by their lengths first, those of `adapt` too
            (Mueller & Hein 2025, "relative Mahalanobis++"). Features of zeros stay zeros.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for a `shrinkage` outside of 0 to 1, a `normalize` that is not True or False,
            and as `HeadDetector` does; by `adapt`, for samples of one class alone, and for
            features that do not vary within classes.

    Example:
    ```python
    detector = keras_lodin.RMDSDetector(classifier)
    detector.adapt(train_images, train_labels)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False

    def __init__(
        self,
        classifier: keras.Model,
        shrinkage: float | None = None,
        normalize: bool = False,
        **kwargs: Any,
    ) -> None:
        self.shrinkage = checked_shrinkage(shrinkage)
        self.normalize = checked_flag("normalize", normalize)
        super().__init__(classifier, **kwargs)

    def build_statistics(self) -> None:
        """Creates the statistics: features h become `u = (h - mean) matrix`."""
        size, classes = self.head.size, self.num_classes
        between = min(size, classes)
        self._mean = self._add_state("mean", (size,))
        # Within classes u has covariance 1, and over all data that of `1 / narrowness`.
        self._matrix = self._add_state("matrix", (size, between))
        self._narrowness = self._add_state("narrowness", (between,))
        # Class means, mapped like features.
        self._centres = self._add_state("centres", (classes, between))
        # `-1/2 |centre|^2`; minus infinity for a class that `adapt` saw no sample of.
        self._offsets = self._add_state("offsets", (classes,))
        self._shrinkage_used = self._add_state("shrinkage_used")

    @property
    def shrinkage_used(self) -> float | None:
        """The shrinkage of the covariance; None before `adapt`."""
        return shortest_float(self._shrinkage_used) if self.adapted else None

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """Minus the relative squared distance: float32, `(batch,)`."""
        measured = on_sphere(features) if self.normalize else features
        u = ops.matmul(measured - self._mean, self._matrix)
        nearness = ops.matmul(u, ops.transpose(self._centres)) + self._offsets
        nearest = row_of_largest(self._centres, nearness)
        return ops.sum(self._narrowness * ops.square(u) - ops.square(u - nearest), axis=-1)

    def new_statistics(self) -> dict[str, ClassStatistics]:
        """Class means and the scatter around them."""
        return {"classes": ClassStatistics(self.num_classes, self.head.size)}

    def observe(
        self,
        statistics: Mapping[str, ClassStatistics],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """See `StatisticsDetector.observe`."""
        values = rows_on_sphere(features[0]) if self.normalize else features[0]
        statistics["classes"].update(values, labels)

    def assign_statistics(self, statistics: Mapping[str, ClassStatistics]) -> None:
        """The directions that tell classes apart, and the class means along them."""
        whitening = whiten(statistics["classes"], self.shrinkage)
        directions, narrowness = relative_to_all(whitening, statistics["classes"].counts)
        centres = whitening.centres @ directions
        lengths = np.sum(np.square(centres), axis=-1)
        self._mean.assign(whitening.mean)
        self._matrix.assign(whitening.matrix @ directions)
        self._narrowness.assign(narrowness)
        self._centres.assign(centres)
        self._offsets.assign(np.where(whitening.present, -0.5 * lengths, -np.inf))
        self._shrinkage_used.assign(whitening.shrinkage)

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {
            **super().get_config(),
            "shrinkage": self.shrinkage,
            "normalize": self.normalize,
        }
