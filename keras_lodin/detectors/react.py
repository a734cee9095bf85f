"""ReAct: the energy after large features are cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.percentiles import (
    TABLE_SIZE,
    checked_percentile,
    in_table,
    percentile_table,
    sample_capacity,
)
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.statistics.feature_bank import FeatureBank
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "react",
    description="the energy after large features are cut off (Sun et al. 2021)",
    position=18,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class ReActDetector(StatisticsDetector, HeadDetector):
    """Scores by the energy of the logits after large features are cut off (Sun, Guo & Li 2021).

        score = logsumexp(W min(h, t) + b),    t a percentile of all activations of training data

    h is what enters the last layer. Unbounded; higher = more in-distribution.

    `adapt` takes the percentiles, of all values of h of up to 10,000 training samples (fewer where
    they would take more than 256 MB), as many of each class, and stores those of all thousandths:
    after it every `percentile` can be set. Labels are not needed; of data without, the predicted
    classes balance the sample.

    Most values behind a ReLU may be 0; then so is a low percentile, and all samples have the same
    score.

    Args:
        classifier: see `Detector`; its last layer is linear, and what enters it is not negative.
        percentile: which percentile t is, a fraction between 0 and 1 of whole thousandths. The
            paper's 0.9 by default; 1 cuts nothing off, which leaves the energy.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for another `percentile`, features of which more than 1 % is negative, and as
            `HeadDetector` does.

    Example:
    ```python
    detector = keras_lodin.ReActDetector(classifier)
    detector.adapt(train_images, train_labels)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    percentile = Setting(checked_percentile, candidates=(0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0))
    needs_labels = False

    def __init__(self, classifier: keras.Model, percentile: float = 0.9, **kwargs: Any) -> None:
        super().__init__(classifier, **kwargs)
        self.refuse_signed_features()
        self.percentile = percentile

    def build_statistics(self) -> None:
        """Creates the table of percentiles."""
        self._percentiles = self._add_state("percentiles", (TABLE_SIZE,))

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The energy behind the cut features: float32, `(batch,)`."""
        # The largest of the sample is not that of all there is: 1 is no cut at all.
        if settings["percentile"] < 1.0:
            largest = in_table(self._percentiles, settings["percentile"])
            # No `minimum`: of what is no number and a number, some take the number.
            logits = self.head.logits(ops.where(features > largest, largest, features))
        return ops.logsumexp(logits, axis=-1)

    def new_statistics(self) -> dict[str, FeatureBank]:
        """A sample of features, empty yet."""
        return {"sample": FeatureBank(sample_capacity(self.head.size), self.num_classes)}

    def observe(
        self,
        statistics: Mapping[str, FeatureBank],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Keeps features, balanced by class."""
        statistics["sample"].update(features[0], labels)

    def assign_statistics(self, statistics: Mapping[str, FeatureBank]) -> None:
        """Takes the percentiles of all values of the sample."""
        self._percentiles.assign(percentile_table(statistics["sample"].values))
