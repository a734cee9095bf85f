"""DICE: the energy of the logits without weights that contribute little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_lodin.detectors.mean_detector import MeanDetector
from keras_lodin.detectors.percentiles import (
    TABLE_SIZE,
    checked_percentile,
    in_table,
    percentile_table,
)
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.statistics.class_means import ClassMeans
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "dice",
    description="the energy without weights that contribute little (Sun & Li 2022)",
    position=26,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class DICEDetector(MeanDetector):
    """Scores by the energy without the last layer's weights that contribute little (Sun & Li 2022).

        score = logsumexp(h (W * M) + b),    M = 1 where mean(h)_i W_ic > t, 0 elsewhere

    t is a percentile of the contributions `mean(h)_i W_ic` of all features to all classes, mean(h)
    over training data. Unbounded; higher = more in-distribution.

    `adapt` takes the mean, and stores t for all thousandths: after it every `percentile` can be
    set. Labels are not needed. The weights W are kept once more, as they were then: 4 bytes for
    each feature of each class in every saved and exported file.

    Args:
        classifier: see `Detector`; its last layer is linear.
        percentile: the share of weights to drop, a fraction between 0 and 1 of whole thousandths.
            The paper's 0.9 by default; 0 drops none, which leaves the energy.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for another `percentile`, and as `HeadDetector` does.

    Example:
    ```python
    detector = keras_lodin.DICEDetector(classifier)
    detector.adapt(train_images)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    percentile = Setting(checked_percentile, candidates=(0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.9, 0.95))

    def __init__(self, classifier: keras.Model, percentile: float = 0.9, **kwargs: Any) -> None:
        super().__init__(classifier, **kwargs)
        self.percentile = percentile

    def build_statistics(self) -> None:
        """Creates the mean, the weights to be masked and the table of thresholds."""
        self._mean = self._add_state("mean", (self.head.size,))
        self._kernel = self._add_state("kernel", (self.head.size, self.num_classes))
        self._bias = self._add_state("bias", (self.num_classes,))
        self._thresholds = self._add_state("thresholds", (TABLE_SIZE,))

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The energy behind the masked weights: float32, `(batch,)`."""
        # The smallest contribution is not above itself: 0 is no mask at all.
        if settings["percentile"] > 0.0:
            kernel = ops.convert_to_tensor(self._kernel)
            threshold = in_table(self._thresholds, settings["percentile"])
            kept = ops.cast(self._mean[:, None] * kernel > threshold, "float32")
            logits = ops.matmul(features, kernel * kept) + self._bias
        return ops.logsumexp(logits, axis=-1)

    def assign_statistics(self, statistics: Mapping[str, ClassMeans]) -> None:
        """Assigns the mean, the weights as they are now, and the thresholds."""
        mean, kernel = statistics["all"].mean.astype("float32"), self.head.kernel
        self._mean.assign(mean)
        self._kernel.assign(kernel)
        self._bias.assign(self.head.bias)
        # One of the contributions, in the arithmetic of the graph, so that it masks what it should.
        self._thresholds.assign(percentile_table(mean[:, None] * kernel, method="lower"))
