"""ViM: the energy against a logit that the residual of features stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.residual import ResidualDetector, principal_directions, zero_of_logits
from keras_lodin.detectors.settings import checked_count
from keras_lodin.detectors.statistics.feature_bank import FeatureBank
from keras_lodin.utils.tensor import Tensor

# Samples whose residuals are computed at once.
_ROWS = 1024


@DETECTORS.register(
    "vim",
    description="the energy against the residual of features as a logit (Wang et al. 2022)",
    position=16,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class VIMDetector(ResidualDetector):
    """Scores by the energy less a virtual logit, which features without a class raise.

        score = logsumexp(z) - a | R^T (h - u) |

    (Wang, Li, Feng & Zhang 2022.) u and R are those of `ResidualDetector`, and a brings residuals
    to the size of logits: the mean of the largest logit over training samples, divided by that of
    the residual, for every `dimension` its own. It is taken from a sample of the training data.
    Higher = more in-distribution.

    With few features, 64 for example, the residual holds much of what tells classes apart: compare
    it with `EnergyDetector` there.

    Args:
        classifier: see `Detector`; its last layer is linear.
        dimension: see `ResidualDetector`.
        sample_size: the most training samples to take a from, as many of each class. `adapt` keeps
            their features in memory, 4 bytes each; no file has them.
        **kwargs: see `Detector`.

    Raises:
        ValueError: as `ResidualDetector` does, for a `sample_size` that is no whole number above
            0; by `adapt`, where the largest logit is not above 0 on average, since a would turn
            the residual's sign.

    Example:
    ```python
    detector = keras_lodin.VIMDetector(classifier)
    detector.adapt(train_images)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    # With its defaults the best of one pass, or not told from it, on four networks of nine
    # (docs/results/choose.md).
    in_every_evaluation = True

    def __init__(
        self,
        classifier: keras.Model,
        dimension: float | None = None,
        sample_size: int = 10_000,
        **kwargs: Any,
    ) -> None:
        self.sample_size = checked_count("sample_size", sample_size)
        super().__init__(classifier, dimension, **kwargs)

    def build_statistics(self) -> None:
        """Creates the scale of residuals beside the directions."""
        super().build_statistics()
        # For every number of directions that are left out.
        self._scales = self._add_state("scales", (self.head.size,))

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The energy less the virtual logit: float32, `(batch,)`."""
        left_out = self.directions_left_out(settings)
        virtual = self._scales[left_out] * self.residual(features, settings)
        return ops.logsumexp(logits, axis=-1) - virtual

    def new_statistics(self) -> dict[str, Any]:
        """Mean and scatter of all features, and an empty sample."""
        bank = FeatureBank(self.sample_size, self.num_classes)
        return {**super().new_statistics(), "sample": bank}

    def observe(
        self,
        statistics: Mapping[str, Any],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """See `StatisticsDetector.observe`."""
        super().observe(statistics, features, logits, labels)
        statistics["sample"].update(features[0], labels)

    def assign_statistics(self, statistics: Mapping[str, Any]) -> None:
        """The directions, and the scale of residuals."""
        origin, directions, rank = principal_directions(
            statistics["all"], zero_of_logits(self.head)
        )
        sample = statistics["sample"].values
        kernel, bias = (np.asarray(part, "float64") for part in (self.head.kernel, self.head.bias))
        largest = float(np.mean(np.max(sample @ kernel + bias, axis=-1)))
        if largest <= 0.0:
            raise ValueError(
                "The largest logit must be above 0 on average: ViM measures residuals by it. Take "
                "`ResidualDetector`, or add a constant to all logits, which changes no softmax. "
                f"Received: a mean of {largest:.3g} over {len(sample)} training samples"
            )
        residuals = mean_residuals(sample - origin, directions)
        # Beyond the rank there is nothing but rounding; the residual stops there too.
        residuals[rank:] = residuals[rank - 1]
        self._assign(origin, directions, rank)
        self._scales.assign(largest / residuals)

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {**super().get_config(), "sample_size": self.sample_size}


def mean_residuals(vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The mean length of vectors without their first d directions, for every d from 0.

    Args:
        vectors: `(count, size)`.
        directions: orthogonal, a column for each, `(size, size)`.

    Returns:
        float64, `(size,)`.
    """
    total = np.zeros(len(directions))
    for start in range(0, len(vectors), _ROWS):
        squares = np.square(vectors[start : start + _ROWS] @ directions)
        total += np.sqrt(np.cumsum(squares[:, ::-1], axis=-1)[:, ::-1]).sum(axis=0)
    return total / len(vectors)
