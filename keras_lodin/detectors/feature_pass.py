"""One pass of a classifier that keeps features beside the logits."""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from keras_lodin.gradients import ForwardPass
from keras_lodin.models.features import FeatureLayers
from keras_lodin.utils.tensor import Tensor


class FeaturePass:
    """One pass of a classifier over a batch that keeps its features beside its logits.

    Args:
        feature_layers: the layers to keep.
        inputs: tensor of shape `(batch, ...)`. Integers are cast to float32.

    Attributes:
        inputs: float tensor of shape `(batch, ...)`.
        logits: float32 tensor of shape `(batch, classes)`.
        features: a float32 tensor of shape `(batch, size)` for each layer.
    """

    def __init__(self, feature_layers: FeatureLayers, inputs: Tensor) -> None:
        self._sizes = feature_layers.sizes
        # Side by side in one tensor, of which one backward pass serves all layers.
        self._pass = ForwardPass(
            lambda x: ops.concatenate(feature_layers(x), axis=-1), ops.convert_to_tensor(inputs)
        )
        self.inputs = self._pass.inputs
        *self.features, self.logits = self._split(self._pass.logits)

    def input_gradient(self, cotangents: Sequence[Tensor]) -> Tensor:
        """The vector-Jacobian product of the features, summed over layers.

        Args:
            cotangents: a float32 tensor of shape `(batch, size)` for each layer, taken as
                constant.

        Returns:
            float32 tensor of the inputs' shape.

        Raises:
            ValueError: if no layer's features depend on the inputs differentiably.
        """
        cotangent = ops.concatenate([*cotangents, ops.zeros_like(self.logits)], axis=-1)
        return self._pass.input_gradient(cotangent)

    def features_at(self, inputs: Tensor) -> list[Tensor]:
        """The features of other inputs, by another forward pass."""
        return self._split(self._pass.logits_at(inputs))[:-1]

    def _split(self, values: Tensor) -> list[Tensor]:
        parts, start = [], 0
        for size in self._sizes:
            parts.append(values[:, start : start + size])
            start += size
        return [*parts, values[:, start:]]
