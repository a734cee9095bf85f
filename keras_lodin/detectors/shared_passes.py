"""One pass of each classifier for all detectors that watch it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.feature_pass import FeaturePass
from keras_lodin.models.features import FeatureLayers
from keras_lodin.utils.tensor import Tensor


def shared_passes(detectors: Sequence[Detector], inputs: Tensor) -> list[Any]:
    """A forward pass over a batch for each of several detectors, run once per classifier.

    Args:
        detectors: any number of them; those that need statistics have them.
        inputs: a batch of inputs.

    Returns:
        what each detector's `score` reads, in their order.
    """
    groups: dict[Hashable, list[Detector]] = {}
    for detector in detectors:
        groups.setdefault(detector.pass_key, []).append(detector)
    made = {key: _pass_of_all(group, inputs) for key, group in groups.items()}
    passes = [made[detector.pass_key] for detector in detectors]
    return [
        one.of(detector.feature_layers) if isinstance(one, FeaturePass) else one
        for one, detector in zip(passes, detectors, strict=True)
    ]


def _pass_of_all(group: Sequence[Detector], inputs: Tensor) -> Any:
    """One pass that has what each of a group reads."""
    first = group[0]
    layers = [one.feature_layers for one in group if one.feature_layers is not None]
    if not layers:
        return first.forward_pass(inputs, **first.side_values(inputs))
    return FeaturePass(FeatureLayers.joined(layers), inputs, of_names=first.takes_names)
