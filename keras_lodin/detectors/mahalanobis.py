"""The Mahalanobis distance of features to the nearest class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.directions import (
    on_sphere,
    row_of_largest,
    rows_on_sphere,
    through_sphere,
)
from keras_lodin.detectors.feature_pass import FeaturePass
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.settings import (
    checked_epsilon,
    checked_flag,
    checked_numbers,
    checked_shrinkage,
)
from keras_lodin.detectors.statistics.class_statistics import ClassStatistics, whiten
from keras_lodin.detectors.statistics_detector import StatisticsDetector
from keras_lodin.gradients import backend
from keras_lodin.models.features import FeatureLayers
from keras_lodin.models.input_range import GivenRange
from keras_lodin.utils.tensor import Tensor


@DETECTORS.register(
    "mahalanobis",
    description="the distance of features from the nearest class mean (Lee et al. 2018)",
    position=5,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class MahalanobisDetector(StatisticsDetector):
    """Scores by how near features are to those of a class (Lee, Lee, Lee & Shin 2018).

        score = sum over layers l of w_l * max_c -1/2 (z_l - mu_lc)^T P_l (z_l - mu_lc)

    `adapt` takes the class means mu_lc and P_l, the inverse of the covariance that all classes
    share, from TRAINING data; that is one pass over it, and memory of `(features, features)` per
    layer. At most 0 for positive weights, and higher = more in-distribution.

    With a step (`epsilon` above 0) the score is that of

        x~ = x + epsilon * (hi - lo) * sign(d score / dx),    the nearest class held fixed

    one step for all layers, where the original code takes one for each. It costs three passes of
    the classifier instead of one.

    Args:
        classifier: see `Detector`. A functional or sequential model: the features of a subclassed
            one cannot be found.
        layers: name or names of layers whose outputs are the features, in models within the
            classifier too. None for what enters the last layer. Features of more than one axis
            are averaged over all axes between the batch and the last, the channels.
        layer_weights: w_l, one number for each layer. None for 1 each.
        epsilon: size of the step as a fraction of the input range, not negative. 0 for no step.
        shrinkage: a in `(1 - a) S + a tr(S) / features I`, which is inverted instead of the
            covariance S; between 0 and 1. At 0 a covariance without full rank has its
            pseudo-inverse. None for 0 where S has full numerical rank, else for the estimate of
            Chen et al. (2010), "OAS"; `shrinkage_used` says what it was.
        input_range: `(lo, hi)`, the range of the classifier's input values, e.g. `(0, 255)` for a
            classifier that takes pixels and rescales them itself; or two arrays with one number
            for each feature. The step is in these units, and with one, inputs outside are refused
            by `adapt` and `calibrate`. None for the range that the classifier's first layers
            show, or else the data of `adapt`.
        normalize: whether features are divided by their lengths first, those of `adapt` too
            (Mueller & Hein 2025, "Mahalanobis++"). Features of zeros stay zeros.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for a classifier whose features cannot be found, and layers that it does not
            have.

    Example:
    ```python
    detector = keras_lodin.MahalanobisDetector(classifier)
    detector.adapt(train_images, train_labels)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    feature_layers: FeatureLayers

    def __init__(
        self,
        classifier: keras.Model,
        layers: str | Sequence[str] | None = None,
        layer_weights: Sequence[float] | None = None,
        epsilon: float = 0.0,
        shrinkage: float | None = None,
        input_range: GivenRange | None = None,
        normalize: bool = False,
        **kwargs: Any,
    ) -> None:
        self.normalize = checked_flag("normalize", normalize)
        # Before the base class, which builds: the statistics' shapes are those of the layers.
        self.feature_names = _checked_names(layers)
        super().__init__(classifier, input_range=input_range, **kwargs)
        count = len(self._statistics)
        self.layer_weights = checked_numbers(
            "layer_weights",
            layer_weights,
            lambda values: len(values) == count and bool(np.isfinite(values).all()),
            f"hold one finite number for each of the {count} layers",
        )
        self._epsilon = checked_epsilon(epsilon)
        # A step is a fraction of the range.
        self._within_range = self._epsilon > 0.0
        if self._within_range:
            self.check_differentiable()
        self.shrinkage = checked_shrinkage(shrinkage)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Finds the features, and creates the statistics of each layer."""
        self.feature_layers = FeatureLayers(self.classifier, self.from_logits, self.feature_names)
        self._statistics = [
            self._add_statistics(number, size)
            for number, size in enumerate(self.feature_layers.sizes)
        ]
        self._shrinkage_used = self._add_state("shrinkage_used", (len(self._statistics),))
        super().build(input_shape)

    def _add_statistics(self, number: int, size: int) -> dict[str, keras.Variable]:
        """The weights of one layer: features z become `u = (z - mean) matrix`."""
        return {
            "mean": self._add_state(f"mean_{number}", (size,)),
            # The precision is `matrix matrix^T`.
            "matrix": self._add_state(f"matrix_{number}", (size, size)),
            # Class means, mapped like features.
            "centres": self._add_state(f"centres_{number}", (self.num_classes, size)),
            # `-1/2 |centre|^2`; minus infinity for a class that `adapt` saw no sample of.
            "offsets": self._add_state(f"offsets_{number}", (self.num_classes,)),
        }

    @property
    def epsilon(self) -> float:
        """Size of the step. Fixed: without one, a graph has no gradient in it."""
        return self._epsilon

    @property
    def shrinkage_used(self) -> tuple[float, ...] | None:
        """The shrinkage of each layer's covariance; None before `adapt`."""
        if not self.adapted:
            return None
        return tuple(float(value) for value in backend.eager_value(self._shrinkage_used))

    @property
    def cost_in_passes(self) -> float:
        """Three with a step: forward, backward to the input, forward."""
        return 3.0 if self.epsilon > 0.0 else 1.0

    def score(self, forward_pass: FeaturePass) -> Tensor:
        """The weighted sum of `-1/2` the squared distances: float32, `(batch,)`."""
        features = forward_pass.features
        if self.epsilon > 0.0:
            features = forward_pass.features_at(self.perturb(forward_pass))
        score = 0.0
        for weight, statistics, z in self._per_layer(self._measured(features)):
            score = score - 0.5 * weight * ops.sum(ops.square(_offset(statistics, z)), axis=-1)
        return score

    def perturb(self, forward_pass: FeaturePass) -> Tensor:
        """The inputs after the step, x~, of the inputs' shape and dtype."""
        # The derivative of -1/2 |u - v|^2 by the features, v the nearest centre.
        cotangents = [
            -weight * ops.matmul(_offset(statistics, z), ops.transpose(statistics["matrix"]))
            for weight, statistics, z in self._per_layer(self._measured(forward_pass.features))
        ]
        if self.normalize:
            cotangents = list(map(through_sphere, forward_pass.features, cotangents))
        direction = ops.sign(forward_pass.input_gradient_of_features(cotangents))
        low, high = self.input_range
        inputs = forward_pass.inputs
        return inputs + ops.cast(self.epsilon * (high - low) * direction, inputs.dtype)

    def _measured(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        return list(map(on_sphere, features)) if self.normalize else features

    def _per_layer(
        self, features: Sequence[Tensor]
    ) -> Iterator[tuple[float, dict[str, keras.Variable], Tensor]]:
        weights = self.layer_weights or (1.0,) * len(self._statistics)
        return zip(weights, self._statistics, features, strict=True)

    def new_statistics(self) -> dict[str, ClassStatistics]:
        """Class means and the scatter around them, of each layer."""
        return {
            str(number): ClassStatistics(self.num_classes, size)
            for number, size in enumerate(self.feature_layers.sizes)
        }

    def observe(
        self,
        statistics: Mapping[str, ClassStatistics],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """See `StatisticsDetector.observe`."""
        for layer, values in zip(statistics.values(), features, strict=True):
            layer.update(rows_on_sphere(values) if self.normalize else values, labels)

    def assign_statistics(self, statistics: Mapping[str, ClassStatistics]) -> None:
        """The map under which distances are Euclidean, and the class means under it."""
        found = [whiten(layer, self.shrinkage) for layer in statistics.values()]
        for weights, whitening in zip(self._statistics, found, strict=True):
            lengths = np.sum(np.square(whitening.centres), axis=-1)
            weights["mean"].assign(whitening.mean)
            weights["matrix"].assign(whitening.matrix)
            weights["centres"].assign(whitening.centres)
            weights["offsets"].assign(np.where(whitening.present, -0.5 * lengths, -np.inf))
        self._shrinkage_used.assign([whitening.shrinkage for whitening in found])

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {
            **super().get_config(),
            "layers": None if self.feature_names is None else list(self.feature_names),
            "layer_weights": None if self.layer_weights is None else list(self.layer_weights),
            "epsilon": self.epsilon,
            "shrinkage": self.shrinkage,
            "normalize": self.normalize,
        }


def _offset(statistics: dict[str, keras.Variable], features: Tensor) -> Tensor:
    """Mapped features minus the centre that is nearest to them: `(batch, size)`."""
    u = ops.matmul(features - statistics["mean"], statistics["matrix"])
    centres = statistics["centres"]
    # The nearest by -1/2 |u - v|^2 + 1/2 |u|^2, a matrix product. The distance is not taken from
    # there: the difference of two large numbers has lost it.
    nearness = ops.matmul(u, ops.transpose(centres)) + statistics["offsets"]
    return u - row_of_largest(centres, nearness)


def _checked_names(layers: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if layers is None:
        return None
    several = tuple(layers) if isinstance(layers, Iterable) else ()
    names = (layers,) if isinstance(layers, str) else several
    if not names or len(set(names)) < len(names) or not all(isinstance(n, str) for n in names):
        raise ValueError(
            "`layers` must be the name of a layer, or a list of different names. "
            f"Received: layers={layers!r}"
        )
    return names
