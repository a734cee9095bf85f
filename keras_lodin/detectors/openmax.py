"""OpenMax: how likely it is that an input is of none of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.stats import weibull_min

from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.settings import checked_count
from keras_lodin.detectors.statistics.class_means import ClassMeans
from keras_lodin.detectors.statistics.feature_bank import FeatureBank
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.detectors.tunable_detector import TunableDetector
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.tensor import Tensor

# Bytes of logits that are kept until the means are known.
_SAMPLE_BYTES = 2**28
_FEWEST = 3


@DETECTORS.register(
    "openmax",
    description="the odds of any class against none, by extreme values (Bendale & Boult 2016)",
    position=27,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class OpenMaxDetector(StatisticsDetector, TunableDetector):
    """Scores by the odds of any class against none (OpenMax; Bendale & Boult 2016).

        score = log((1 - P(unknown)) / P(unknown))

    With z the logits and m_c the mean of z over the correctly classified samples of class c, the
    distances ||z - m_c|| of these have a tail, the `tail_size` largest, to which a Weibull
    distribution is fitted. Of a new sample, the class with the r-th largest logit (r = 0, 1, ...
    below alpha) keeps only the share `1 - F_c(||z - m_c||) (alpha - r) / alpha` of its logit; what
    they lose together is the logit of the unknown class, and P(unknown) its softmax.

    The logarithm of the odds orders samples as `1 - P(unknown)` does, of which float32 would make
    1 for all that is well known. Unbounded; higher = more in-distribution.

    `adapt` needs labels. Distances are Euclidean. As libMR does it, the tail is moved to begin at
    1 before two parameters are fitted by likelihood. The means are of all samples; the tails are
    of those kept until the means are known, up to 256 MB of logits and as many of each class:
    exact for 67,000 samples of 1,000 classes, or for millions of ten. A class with fewer than three
    correctly classified samples, or with all of them alike, has no tail: nothing is known of it,
    and a sample that is predicted as such loses that logit.

    A negative logit among the alpha largest takes from the unknown class: with few classes let
    alpha be small.

    Args:
        classifier: see `Detector`.
        alpha: how many of the largest logits are revised. The published code's 10 by default, or
            all classes where there are fewer.
        tail_size: how many of the largest distances of each class count. The published code's 20
            by default, or all where there are fewer.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for an `alpha` that is no whole number above 0, a `tail_size` below 3, and as
            `Detector` does; by `adapt`, for data without labels, or of which no class has a tail.

    Example:
    ```python
    detector = keras_lodin.OpenMaxDetector(classifier)
    detector.adapt(train_images, train_labels)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    alpha = Setting(checked_count, candidates=(1, 2, 3, 5, 10, 20))

    def __init__(
        self, classifier: keras.Model, alpha: int = 10, tail_size: int = 20, **kwargs: Any
    ) -> None:
        self.tail_size = checked_count("tail_size", tail_size)
        if self.tail_size < _FEWEST:
            raise ValueError(
                f"`tail_size` must be at least {_FEWEST}, for two parameters to be fitted. "
                f"Received: tail_size={tail_size!r}"
            )
        super().__init__(classifier, **kwargs)
        self.alpha = alpha

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates means and Weibull distributions."""
        self._centre = self._add_state("centre", (self.num_classes,))
        self._means = self._add_state("means", (self.num_classes, self.num_classes))
        # Where each tail begins, less 1, and the two parameters from there.
        self._starts = self._add_state("starts", (self.num_classes,))
        self._scales = self._add_state("scales", (self.num_classes,), "ones")
        self._shapes = self._add_state("shapes", (self.num_classes,), "ones")
        super().build(input_shape)

    def score_with(self, forward_pass: ForwardPass, settings: Mapping[str, Any]) -> Tensor:
        """The logarithm of the odds of any class: float32, `(batch,)`."""
        logits = forward_pass.logits
        alpha = min(settings["alpha"], self.num_classes)
        largest, _ = ops.top_k(logits, alpha)
        # Places by comparison: classes that tie share theirs, in whatever order they come.
        above = ops.cast(largest[:, None, :] > logits[:, :, None], "float32")
        rank_weights = (alpha - ops.sum(above, axis=-1)) / alpha
        lost = logits * rank_weights * self._outlying(logits)
        return ops.logsumexp(logits - lost, axis=-1) - ops.sum(lost, axis=-1)

    def _outlying(self, logits: Tensor) -> Tensor:
        """F_c at the distance from each class's mean: float32, `(batch, classes)`."""
        # About the mean of the means, so that the difference of squares keeps its digits.
        offsets = logits - self._centre
        products = ops.matmul(offsets, ops.transpose(self._means))
        squares = (
            ops.sum(ops.square(offsets), axis=-1, keepdims=True)
            - 2.0 * products
            + ops.sum(ops.square(self._means), axis=-1)
        )
        distances = ops.sqrt(ops.maximum(squares, 0.0))
        place = ops.maximum((distances - self._starts) / self._scales, 1e-30)
        # e^5 is as good as infinity in another exponent, and float32 has it.
        return -ops.expm1(-ops.exp(ops.minimum(self._shapes * ops.log(place), 5.0)))

    def new_statistics(self) -> dict[str, Any]:
        """Means of no logits, and a sample of them, empty yet."""
        capacity = max(1, _SAMPLE_BYTES // (4 * self.num_classes))
        return {
            "means": ClassMeans(self.num_classes, self.num_classes),
            "sample": FeatureBank(capacity, self.num_classes),
        }

    def observe(
        self,
        statistics: Mapping[str, Any],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Takes in the logits of correctly classified samples."""
        correct = logits.argmax(axis=-1) == labels
        for one in statistics.values():
            one.update(logits[correct], labels[correct])

    def assign_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Fits a Weibull distribution to each class's tail."""
        means, sample = statistics["means"].means, statistics["sample"]
        distances = np.linalg.norm(sample.values - means[sample.labels], axis=-1)
        tails = [
            weibull_tail(distances[sample.labels == number], self.tail_size)
            for number in range(self.num_classes)
        ]
        if not any(tails):
            raise ValueError(
                f"At least one class needs {_FEWEST} or more samples that are classified "
                "rightly and differ. Received: samples of which "
                f"{statistics['means'].counts.sum()} are classified rightly"
            )
        present = statistics["means"].counts > 0
        centre = means[present].mean(axis=0)
        self._centre.assign(centre)
        self._means.assign(np.where(present[:, None], means - centre, 0.0))
        # Without a tail: far beyond its end, whatever the distance.
        starts, scales, shapes = np.array([tail or (-1e6, 1.0, 1.0) for tail in tails]).T
        self._starts.assign(starts)
        self._scales.assign(scales)
        self._shapes.assign(shapes)

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {**super().get_config(), "tail_size": self.tail_size}


def weibull_tail(distances: np.ndarray, tail_size: int) -> tuple[float, float, float] | None:
    """The Weibull distribution of the largest distances.

    Args:
        distances: `(samples,)`.
        tail_size: how many of the largest count.

    Returns:
        where it begins, its scale and its shape; None for fewer than three distances, or ones
        that do not differ.
    """
    tail = np.sort(np.asarray(distances, "float64"))[-tail_size:]
    if len(tail) < _FEWEST or np.ptp(tail) <= 1e-6 * tail[-1]:
        return None
    start = float(tail[0]) - 1.0
    shape, _, scale = weibull_min.fit(tail - start, floc=0.0)
    return start, float(scale), float(shape)
