"""Several detectors of one classifier as one, by their p-values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.feature_pass import FeaturePass
from keras_lodin.gradients import backend
from keras_lodin.models.features import FeatureLayers
from keras_lodin.utils.registry import did_you_mean
from keras_lodin.utils.tensor import Tensor

_RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "fisher": lambda p_values: ops.sum(ops.log(p_values), axis=-1),
    "minimum": lambda p_values: ops.min(p_values, axis=-1),
    "mean": lambda p_values: ops.mean(p_values, axis=-1),
}


@keras.saving.register_keras_serializable(package="keras_lodin")
class CombinedDetector(Detector):
    """Scores by the p-values of several detectors of one classifier, in one forward pass.

    Scores of different detectors have nothing in common; their p-values have one scale, see
    `Detector`. The score is one number from the p-values p_i:

    * "fisher": `sum_i log p_i` (Fisher 1932), low where several are low: for detectors that see
      different things;
    * "minimum": `min_i p_i`, low where any is;
    * "mean": `mean_i p_i`.

    Higher = more in-distribution. The p-values of one input depend on each other, so the score is
    no p-value itself; `calibrate` gives it a threshold and a p-value of its own, as of any score.
    Each detector must be calibrated before. The same data may calibrate the whole: what that costs
    is of the size of 1 / (calibration samples); other data cost nothing.

    Args:
        detectors: two or more, of one classifier, which is the same object. They become parts of
            this one: what changes them later changes its score, and its threshold is then wrong.
        rule: "fisher", "minimum" or "mean".
        **kwargs: see `Detector`.

    Raises:
        ValueError: for fewer than two detectors, detectors of different classifiers, a combined
            one or MOOD among them, and an unknown rule.

    Example:
    ```python
    msp, mahalanobis = keras_lodin.MSPDetector(model), keras_lodin.MahalanobisDetector(model)
    mahalanobis.adapt(train_images, train_labels)
    for part in (msp, mahalanobis):
        part.calibrate(calibration_images)
    detector = keras_lodin.CombinedDetector([msp, mahalanobis], rule="fisher")
    detector.calibrate(calibration_images)
    detector.export("both.onnx", format="onnx")
    ```
    """

    def __init__(self, detectors: Sequence[Detector], rule: str = "fisher", **kwargs: Any) -> None:
        parts = _checked_parts(detectors)
        if not isinstance(rule, str) or rule not in _RULES:
            raise ValueError(
                f"`rule` must be one of {', '.join(map(repr, _RULES))}.{did_you_mean(rule, _RULES)}"
                f" Received: rule={rule!r}"
            )
        self.rule = rule
        # In a closure until `build`: Keras takes no layers before its own constructor has run.
        self._given_parts: Callable[[], list[Detector]] = lambda: parts
        known = next((one for one in parts if one.judged_input_range.known), parts[0])
        kwargs.setdefault("input_range", known.judged_input_range)
        kwargs.setdefault("class_names", parts[0].class_names)
        super().__init__(parts[0].classifier, **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Takes the detectors in."""
        self.detectors = self._given_parts()
        layers = [one.feature_layers for one in self.detectors if one.feature_layers is not None]
        self.feature_layers = FeatureLayers.joined(layers) if layers else None
        super().build(input_shape)

    @property
    def adapted(self) -> bool:
        """Whether every detector has its statistics."""
        return all(detector.adapted for detector in self.detectors)

    @property
    def cost_in_passes(self) -> float:
        """One pass that all detectors share, and what each of them costs beyond it."""
        return 1.0 + sum(one.cost_in_passes - 1.0 for one in self.detectors)

    def score(self, forward_pass: Any) -> Tensor:
        """One number from all p-values: float32, `(batch,)`."""
        scores = [
            detector.score(
                forward_pass.of(detector.feature_layers)
                if isinstance(forward_pass, FeaturePass)
                else forward_pass
            )
            for detector in self.detectors
        ]
        p_values = [one.p_value(score) for one, score in zip(self.detectors, scores, strict=True)]
        combined = _RULES[self.rule](ops.stack(p_values, axis=-1))
        # A score that is not a number has a p-value, the smallest.
        return ops.where(ops.isnan(sum(scores)), np.float32("nan"), combined)

    def _built_in(self) -> tuple[Hashable, ...]:
        # A detector that is set otherwise forgets its own graph, and knows nothing of this one.
        parts = ((*one.settings.items(), one.judged_input_range) for one in self.detectors)
        return (*super()._built_in(), *parts)

    def forward_pass(self, inputs: Tensor, **side_values: Tensor) -> Any:
        """See `Detector.forward_pass`; refuses while a detector has no calibration."""
        self._check_parts()
        return super().forward_pass(inputs, **side_values)

    def check_inputs(self, inputs: Tensor) -> None:
        """Raises ValueError for inputs that one of the detectors refuses, or before calibration."""
        self._check_parts()
        for detector in self.detectors:
            detector.check_inputs(inputs)

    def predict(self, x: object, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """See `Detector.predict`; refuses while a detector has no calibration."""
        self._check_parts()
        return super().predict(x, *args, **kwargs)

    def _check_parts(self) -> None:
        waiting = [one.name for one in self.detectors if not _has_p_values(one)]
        if waiting:
            raise ValueError(
                "Every detector needs p-values before they are combined: call `calibrate` on each. "
                f"Received: {', '.join(waiting)}, which have none"
            )

    def with_settings(self, **changes: Any) -> Detector:
        """See `Detector.with_settings`; of the same detectors."""
        config = {**self.config_without_classifier(), "detectors": self.detectors, **changes}
        config.pop("from_logits")
        return type(self)(**config)

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with the classifier inside, once."""
        return {
            **super().get_config(),
            "detectors": [
                {
                    "class_name": keras.saving.get_registered_name(type(detector)),
                    "config": detector.config_without_classifier(),
                }
                for detector in self.detectors
            ],
            "rule": self.rule,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, object] | None = None
    ) -> CombinedDetector:
        """Makes a detector from `get_config`'s value."""
        config = dict(config)
        classifier = keras.saving.deserialize_keras_object(
            config.pop("classifier"), custom_objects=custom_objects
        )
        config.pop("from_logits")
        parts = []
        for part in config.pop("detectors"):
            kind = keras.saving.get_registered_object(part["class_name"], custom_objects)
            if kind is None:
                raise ValueError(
                    "The class of a combined detector must be known to Keras: import the module "
                    "that registers it (`keras.saving.register_keras_serializable`). "
                    f"Received: {part['class_name']!r}"
                )
            parts.append(kind(classifier=classifier, **part["config"]))
        return cls(parts, **config)


def _has_p_values(detector: Detector) -> bool:
    counts = backend.eager_value(detector._calibration_counts)
    # None: within `predict`, which has looked before.
    return counts is None or bool(counts[-1] > 1.0)


def _checked_parts(detectors: Sequence[Detector]) -> list[Detector]:
    parts = list(detectors) if isinstance(detectors, (list, tuple)) else []
    if len(parts) < 2 or not all(isinstance(one, Detector) for one in parts):
        raise ValueError(
            f"`detectors` must be a list of two or more detectors. Received: {detectors!r:.200}"
        )
    if len({id(one) for one in parts}) < len(parts):
        raise ValueError(
            "`detectors` must be different ones. "
            f"Received: {', '.join(one.name for one in parts)}, one of them twice"
        )
    for one in parts:
        if isinstance(one, CombinedDetector) or one.takes_exits:
            raise ValueError(
                "A combined detector, and one in which images leave at exits of their own, cannot "
                f"be combined. Received: {one.name!r}, a {type(one).__name__}"
            )
        if one.classifier is not parts[0].classifier:
            raise ValueError(
                "Detectors that are combined must wrap the same classifier object, so that it runs "
                f"once. Received: {parts[0].name!r} and {one.name!r}, of two classifiers"
            )
    return parts
