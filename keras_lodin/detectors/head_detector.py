"""What detectors share that read what enters and what leaves the last linear layer."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

from keras_lodin.detectors.feature_pass import FeaturePass
from keras_lodin.detectors.tunable_detector import TunableDetector
from keras_lodin.models.linear_head import LinearHead
from keras_lodin.utils.tensor import Tensor

# Behind SiLU, GELU or a signed pooling far more is negative; behind a ReLU nothing is.
_MOST_NEGATIVE = 0.01


class HeadDetector(TunableDetector):
    """Base class of detectors that read features h and logits z of the last linear layer.

    `z = h W + b`, see `keras_lodin.models.linear_head.LinearHead`, which is `self.head`. A subclass
    computes `head_score`, and creates weights of its own in `build_statistics`.

    Raises:
        ValueError: for a classifier that does not end in a linear layer, or whose layers cannot be
            seen.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Finds the last layer."""
        self.head = LinearHead(self.classifier, self.from_logits)
        self.feature_layers = self.head.layers
        self.build_statistics()
        super().build(input_shape)

    def build_statistics(self) -> None:
        """Creates the weights of the detector's own, of sizes that `self.head` knows."""

    @abc.abstractmethod
    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The score of each sample: float32, `(batch,)`, higher = more in-distribution.

        Args:
            features: h, float32, `(batch, size)`.
            logits: z, float32, `(batch, classes)`.
            settings: a value for each hyper-parameter.
        """

    def score_with(self, forward_pass: FeaturePass, settings: Mapping[str, Any]) -> Tensor:
        """See `TunableDetector.score_with`."""
        (features,) = forward_pass.features
        return self.head_score(features, forward_pass.logits, settings)

    def refuse_signed_features(self) -> None:
        """Raises ValueError for features below 0. To be called by the constructor."""
        if self.head.negative_share > _MOST_NEGATIVE:
            raise ValueError(
                f"{type(self).__name__} needs features that are not negative, as a ReLU before the "
                "last layer gives them: sums and percentiles of signed features say nothing about "
                "how strong they are. Take a detector of distances or of logits. Received: "
                f"features of which {100 * self.head.negative_share:.0f} % is negative"
            )
