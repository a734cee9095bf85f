"""AdaSCALE: SCALE whose percentile depends on how much a small step moves a sample's features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.activation_scaling import (
    checked_pruning,
    scaled_logits,
    scaling_ratio,
    shares_of_largest,
)
from keras_lodin.detectors.adaptive_detector import AdaptiveDetector
from keras_lodin.detectors.feature_pass import FeaturePass
from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.percentiles import TABLE_SIZE, percentile_table
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.settings import checked_epsilon, checked_fraction, checked_positive
from keras_lodin.models.input_range import GivenRange
from keras_lodin.utils.numbers import single_number
from keras_lodin.utils.tensor import Tensor


def _checked_range(name: str, values: Any) -> tuple[float, float]:
    """The smallest and the largest percentile."""
    two = values if isinstance(values, (list, tuple)) and len(values) == 2 else (1.0, 0.0)
    # Before they are compared: what is no number has no order.
    low, high = (single_number(value) for value in two)
    if low is None or high is None or low > high:
        raise ValueError(
            f"`{name}` must be two fractions, the smallest percentile and the largest. "
            f"Received: {name}={values!r}"
        )
    return checked_pruning(name, low), checked_pruning(name, high)


@DETECTORS.register(
    "adascale",
    description="SCALE by how much a small step moves the features (Regmi 2025)",
    position=28,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class AdaSCALEDetector(AdaptiveDetector, HeadDetector):
    """Scores by SCALE whose percentile suits the sample (AdaSCALE; Regmi 2025, arXiv 2503.08023).

    Features h of out-of-distribution inputs move further under a small step on the input than
    those of the classifier's own. The step is along the sign of the gradient of the largest logit,
    on the pixels that matter least to it:

        x~    = x + epsilon * (hi - lo) * sign(g) * [|g| among the smallest],   g = d max_c z_c / dx
        Q     = shift_weight * sum of |h - h~| over the k2 largest features
                + sum of max(h~, 0) over the k1 largest features
        p     = p_max - F(Q) (p_max - p_min),     F(Q) the share of training data with less
        r     = sum of h / sum of the largest 1 - p of h

    and the score is the energy of the logits that come of it,

    * AdaSCALE-A, `variant="a"`: `logsumexp(W (h e^r) + b)`;
    * AdaSCALE-L, `variant="l"`: `logsumexp(r^2 (W h + b))`.

    Unbounded; higher = more in-distribution. It costs a backward and a second forward pass.

    `adapt` measures Q on in-distribution data, without labels, and keeps one number for each of
    its samples until its end; stored are 1,001 percentiles. A few thousand samples are enough.

    Choices of this package, where the paper and its code round or say nothing: F is linear between
    the stored percentiles, and the last of the largest features counts in part (`features (1 - p)`
    is no whole number), so that no score jumps where another runtime rounds otherwise; k1, k2 and
    the pixels are 1 at least, which few features would make 0; ties share their places. The code's
    step of 0.5 is of standardised pixels, half of ImageNet's standard deviation and so about 0.11
    of the range.

    The step follows the signs of the smallest gradients, of which rounding decides some. Where it
    decides whether a unit of the network is on, the score of that input may differ by a tenth
    from one runtime to another: on a ResNet-20 that of one image in 64 did, and the others' by
    0.001 %.

    Args:
        classifier: see `Detector`; its last layer is linear, and what enters it is not negative.
        variant: "a" or "l".
        percentiles: p_min and p_max, fractions between 0 and 0.98 of whole thousandths. The
            published code's 0.75 and 0.85 by default; 0 and 0 scale nothing, which leaves the
            energy. Equal ones are SCALE's.
        epsilon: size of the step, a fraction of the input range.
        pixel_share: how much of the input moves, each channel's value for itself, between 0 and 1.
        k1: the share of features whose value after the step counts, between 0 and 1.
        k2: the share of features whose movement counts, between 0 and 1.
        shift_weight: how much the movement counts, positive.
        input_range: `(lo, hi)`, the range of the classifier's input values, or two arrays, one
            number for each feature. The step is in these units, and inputs outside are refused by
            `adapt` and `calibrate`. None for the range that the classifier's first layers show,
            or else the data of `adapt`.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for settings outside of their bounds, features of which more than 1 % is
            negative, inputs of free size, a classifier without an input gradient, and as
            `HeadDetector` does.

    Example:
    ```python
    detector = keras_lodin.AdaSCALEDetector(classifier, input_range=(0, 255))
    detector.adapt(train_images)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    in_every_evaluation = False
    _within_range = True
    percentiles = Setting(
        _checked_range,
        candidates=(
            (0.0, 0.0),
            (0.6, 0.7),
            (0.6, 0.8),
            (0.7, 0.8),
            (0.75, 0.85),
            (0.8, 0.85),
            (0.8, 0.9),
            (0.85, 0.95),
        ),
    )

    def __init__(
        self,
        classifier: keras.Model,
        variant: str = "a",
        percentiles: tuple[float, float] = (0.75, 0.85),
        epsilon: float = 0.11,
        pixel_share: float = 0.05,
        k1: float = 0.05,
        k2: float = 0.01,
        shift_weight: float = 10.0,
        input_range: GivenRange | None = None,
        **kwargs: Any,
    ) -> None:
        if variant not in ("a", "l"):
            raise ValueError(f'`variant` must be "a" or "l". Received: variant={variant!r}')
        super().__init__(classifier, input_range=input_range, **kwargs)
        self.refuse_signed_features()
        self.check_differentiable()
        shape = self.input_shape_with_batch[1:]
        if None in shape:
            raise ValueError(
                "AdaSCALEDetector moves a share of each input's values, so their number must be "
                "known: build the classifier for inputs of one size. "
                f"Received: inputs of shape {shape}"
            )
        self._variant = variant
        self._epsilon = checked_epsilon(epsilon)
        self._pixel_share = checked_fraction("pixel_share", pixel_share)
        self._k1, self._k2 = checked_fraction("k1", k1), checked_fraction("k2", k2)
        self._shift_weight = checked_positive("shift_weight", shift_weight)
        self._values = math.prod(int(size or 1) for size in shape)
        self.percentiles = percentiles
        # All candidates of `tune` share the backward and the forward pass.
        self._movements: WeakKeyDictionary[FeaturePass, Tensor] = WeakKeyDictionary()

    def build_statistics(self) -> None:
        """Creates the table of percentiles of Q."""
        self._table = self._add_state("table", (TABLE_SIZE,))

    @property
    def variant(self) -> str:
        """The variant. Fixed: another one is another detector."""
        return self._variant

    @property
    def epsilon(self) -> float:
        """Size of the step. Fixed, as all that `adapt` measures by."""
        return self._epsilon

    @property
    def cost_in_passes(self) -> float:
        """Three: forward, backward to the input, forward; one where nothing is scaled."""
        return 3.0 if self.percentiles[1] > 0.0 else 1.0

    def score_with(self, forward_pass: FeaturePass, settings: Mapping[str, Any]) -> Tensor:
        """The energy behind the scaled features: float32, `(batch,)`."""
        if settings["percentiles"][1] == 0.0:
            return ops.logsumexp(forward_pass.logits, axis=-1)
        if forward_pass not in self._movements:
            self._movements[forward_pass] = self.movement(forward_pass)
        place = place_among(self._table, self._movements[forward_pass])
        return super().score_with(forward_pass, {**settings, "place": place})

    def head_score(self, features: Tensor, logits: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """See `HeadDetector.head_score`; `settings` has F(Q), `(batch,)`, as "place" too."""
        low, high = settings["percentiles"]
        percentile = high - settings["place"] * (high - low)
        ratio = scaling_ratio(features, sum_of_share(features, 1.0 - percentile))
        if self.variant == "l":
            return ops.logsumexp(ops.square(ratio)[:, None] * logits, axis=-1)
        bias = self.head.logits(ops.zeros((1, self.head.size)))
        return ops.logsumexp(scaled_logits(logits, ops.exp(ratio), bias), axis=-1)

    def movement(self, forward_pass: FeaturePass) -> Tensor:
        """Q, how much the features move and how large they then are: float32, `(batch,)`.

        Args:
            forward_pass: of the classifier, over a batch, with the features.
        """
        (before,) = forward_pass.features
        (after,) = forward_pass.features_at(self.perturb(forward_pass))
        first, second = (
            shares_of_largest(before, _count(self.head.size, share))
            for share in (self._k1, self._k2)
        )
        moved = ops.sum(second * ops.abs(before - after), axis=-1)
        return self._shift_weight * moved + ops.sum(first * ops.maximum(after, 0.0), axis=-1)

    def perturb(self, forward_pass: FeaturePass) -> Tensor:
        """The inputs after the step, x~, of the inputs' shape and dtype, not clipped."""
        predicted = ops.argmax(forward_pass.logits, axis=-1)
        gradient = forward_pass.input_gradient(
            ops.one_hot(predicted, self.num_classes, dtype="float32")
        )
        sizes = ops.abs(gradient)
        # By size and not by place: those that are equal move together.
        count = _count(self._values, self._pixel_share)
        flat = ops.reshape(sizes, (ops.shape(sizes)[0], self._values))
        largest = -ops.top_k(-flat, count)[0][:, -1]
        largest = ops.reshape(largest, (-1, *(1,) * (len(sizes.shape) - 1)))
        low, high = self.input_range
        step = ops.sign(gradient) * ops.cast(sizes <= largest, "float32")
        inputs = forward_pass.inputs
        return inputs + ops.cast(self.epsilon * (high - low) * step, inputs.dtype)

    def _adapt(self, data: object, batch_size: int, verbose: int | str) -> None:
        def measure(inputs: Tensor) -> Tensor:
            return self.movement(FeaturePass(self.head.layers, inputs))

        task, check = "Measuring how features move", self.check_before_adapting
        passed = self._passed(measure, data, task, batch_size, verbose, check)
        movements = np.concatenate([batch.outputs for batch in passed])
        if not np.isfinite(movements).all():
            raise ValueError(
                "The features must be finite. Look for NaN and infinite values in the classifier's "
                f"weights. Received: {(~np.isfinite(movements)).sum()} of {len(movements)} samples "
                "whose features are not"
            )
        self._table.assign(percentile_table(movements))

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {
            **super().get_config(),
            "variant": self.variant,
            "percentiles": list(self.percentiles),
            "epsilon": self.epsilon,
            "pixel_share": self._pixel_share,
            "k1": self._k1,
            "k2": self._k2,
            "shift_weight": self._shift_weight,
        }


def _count(size: int, share: float) -> int:
    """A share of `size`, rounded down, 1 at least."""
    return max(1, math.floor(size * share + 1e-6))


def place_among(table: Tensor, values: Tensor) -> Tensor:
    """The share of a distribution that is below each value, linear between its percentiles.

    Args:
        table: rising percentiles, float32, `(TABLE_SIZE,)`.
        values: float32, `(batch,)`.

    Returns:
        float32, `(batch,)`, from 0 to 1.
    """
    widths = ops.maximum(table[1:] - table[:-1], 1e-30)
    return ops.mean(ops.clip((values[:, None] - table[:-1]) / widths, 0.0, 1.0), axis=-1)


def sum_of_share(features: Tensor, shares: Tensor) -> Tensor:
    """The sum of the largest features of each sample, as many as its own share of them.

    Args:
        features: float32, `(batch, size)`.
        shares: fractions of the number of features, float32, `(batch,)`. What is less than one
            feature counts as one, and of the last one only the part that is left.

    Returns:
        float32, `(batch,)`.
    """
    size = features.shape[-1]
    largest, _ = ops.top_k(features, size)
    places = ops.cast(ops.arange(size), "float32")
    weights = ops.clip(ops.maximum(size * shares, 1.0)[:, None] - places, 0.0, 1.0)
    return ops.sum(largest * weights, axis=-1)
