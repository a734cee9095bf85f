"""One pass of a classifier that keeps features beside the logits."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from keras import ops
from typing_extensions import Self

from keras_lodin.gradients import ForwardPass
from keras_lodin.models.features import FeatureLayers
from keras_lodin.utils.tensor import Tensor


class FeaturePass:
    """One pass of a classifier over a batch that keeps its features beside its logits.

    Args:
        feature_layers: the layers to keep.
        inputs: tensor of shape `(batch, ...)`. Integers are cast to float32.
        of_names: whether the inputs are names, tokens for example, which stay integers and have no
            gradient.

    Attributes:
        inputs: float tensor of shape `(batch, ...)`.
        logits: float32 tensor of shape `(batch, classes)`.
        features: a float32 tensor of shape `(batch, size)` for each layer.
    """

    def __init__(
        self, feature_layers: FeatureLayers, inputs: Tensor, *, of_names: bool = False
    ) -> None:
        self._layers = feature_layers
        record = ForwardPass.of_names if of_names else ForwardPass.of_exits

        def outputs(x: Tensor) -> list[Tensor]:
            *features, logits = feature_layers(x)
            # Side by side in one tensor, of which one backward pass serves all layers.
            return [ops.concatenate(features, axis=-1), logits]

        self._of_features, self._of_logits = record(outputs, ops.convert_to_tensor(inputs))
        self.inputs, self.logits = self._of_logits.inputs, self._of_logits.logits
        self._every = self._split(self._of_features.logits)
        self._keep(list(range(len(self._every))))

    def _keep(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self.features = [self._every[number] for number in numbers]

    def of(self, feature_layers: FeatureLayers | None) -> Self:
        """The same pass as one that keeps some of its layers.

        Args:
            feature_layers: layers that are all among those of this pass; None for no layer.
        """
        view = copy.copy(self)
        view._keep([] if feature_layers is None else self._layers.numbers_of(feature_layers))
        return view

    def input_gradient(self, cotangent: Tensor) -> Tensor:
        """The vector-Jacobian product of the logits, see `ForwardPass.input_gradient`."""
        return self._of_logits.input_gradient(cotangent)

    def input_gradient_of_features(self, cotangents: Sequence[Tensor]) -> Tensor:
        """The vector-Jacobian product of the features, summed over layers.

        Args:
            cotangents: a float32 tensor of shape `(batch, size)` for each layer, taken as
                constant.

        Returns:
            float32 tensor of the inputs' shape.

        Raises:
            ValueError: if no layer's features depend on the inputs differentiably.
        """
        given = dict(zip(self._numbers, cotangents, strict=True))
        parts = [given.get(number, ops.zeros_like(part)) for number, part in enumerate(self._every)]
        return self._of_features.input_gradient(ops.concatenate(parts, axis=-1))

    def logits_at(self, inputs: Tensor) -> Tensor:
        """Logits of other inputs, by another forward pass: float32, `(batch, classes)`."""
        return self._of_logits.logits_at(inputs)

    def features_at(self, inputs: Tensor) -> list[Tensor]:
        """The features of other inputs, by another forward pass."""
        parts = self._split(self._of_features.logits_at(inputs))
        return [parts[number] for number in self._numbers]

    def _split(self, values: Tensor) -> list[Tensor]:
        parts, start = [], 0
        for size in self._layers.sizes:
            parts.append(values[:, start : start + size])
            start += size
        return parts
