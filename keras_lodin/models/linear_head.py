"""A classifier's last linear layer: features in, logits out."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lodin.gradients import backend
from keras_lodin.models.features import FeatureLayers
from keras_lodin.models.output_kind import made_inputs
from keras_lodin.utils.keras_internals import call_of, shallow_copy
from keras_lodin.utils.tensor import Tensor

# What float32 may lose in a sum over features; half precision has less.
_ROUNDING, _ROUNDING_OF_HALVES = 1e-3, 5e-2
# Rows of the kernel that are read at once.
_ROWS = 1024


class LinearHead:
    """The last linear layer of a classifier, `logits = features @ kernel + bias`.

    The features h are the tensor that enters the layer, whatever stands between it and the layer
    before (dropout, flattening); of a 1x1 convolution they are averaged over all places, as its
    logits are.

    Args:
        classifier: a functional or sequential model that ends in a `Dense` layer or a 1x1
            convolution, with a softmax after it or none.
        from_logits: whether the classifier returns logits.

    Attributes:
        layers: the `FeatureLayers` that give the features, and the logits, of inputs.
        size: the number of features.
        num_classes: the number of classes.
        negative_share: how much of the features lies below 0 on made inputs, a fraction of the sum
            of their sizes: 0 behind a ReLU.

    Raises:
        ValueError: for a classifier without such a layer, or one whose logits are not linear in
            what enters it.
    """

    def __init__(self, classifier: keras.Model, from_logits: bool) -> None:
        self.layers = FeatureLayers(classifier, from_logits)
        (self.size,) = self.layers.sizes
        end: keras.KerasTensor = self.layers.last_layer
        self._layer = call_of(end).operation
        self._axes = len(call_of(end).inputs[0].shape) - 2
        self.num_classes = int(classifier.outputs[0].shape[-1])
        self._check(classifier)

    def logits(self, features: Tensor) -> Tensor:
        """The logits of other features, `(batch, size)`: float32, `(batch, classes)`.

        The layer's own: one with LoRA weights or of integers computes as it does in the classifier.
        """
        # As it is now. Without its activation, a softmax if it has one, and what is added to the
        # loss for its output.
        layer = shallow_copy(
            self._layer, activation=keras.activations.linear, activity_regularizer=None
        )
        # Not -1: a batch of no sample has no size to be found from.
        values = ops.reshape(features, (ops.shape(features)[0], *self._axes * [1], self.size))
        values = layer(ops.cast(values, layer.compute_dtype), training=False)
        logits = ops.reshape(values, (ops.shape(features)[0], self.num_classes))
        return ops.cast(logits, "float32")

    @property
    def kernel(self) -> np.ndarray:
        """W, as it is now: float32, `(size, classes)`."""
        parts = []
        for start in range(0, self.size, _ROWS):
            rows = np.arange(start, min(start + _ROWS, self.size))
            unit = np.zeros((len(rows), self.size), "float32")
            unit[np.arange(len(rows)), rows] = 1.0
            parts.append(self._values(unit))
        return np.concatenate(parts) - self.bias

    @property
    def bias(self) -> np.ndarray:
        """b, as it is now: float32, `(classes,)`; zeros for a layer without one."""
        return self._values(np.zeros((1, self.size), "float32"))[0]

    def _values(self, features: np.ndarray) -> np.ndarray:
        logits = backend.run_eagerly(lambda: self.logits(ops.convert_to_tensor(features)))
        if logits is None:
            raise ValueError(
                "The weights of the last layer are read before a graph is built, not within one: "
                f"make the detector outside of it. Received: layer={self._layer.name!r}"
            )
        return np.asarray(ops.convert_to_numpy(logits))

    def _check(self, classifier: keras.Model) -> None:
        shape, dtype = classifier.inputs[0].shape, classifier.inputs[0].dtype
        values = self.layers(ops.convert_to_tensor(made_inputs(shape, dtype)))
        features, logits = (np.asarray(ops.convert_to_numpy(value)) for value in values)
        sizes = max(float(np.abs(features).sum()), float(np.finfo("float32").tiny))
        self.negative_share = float(np.abs(np.minimum(features, 0.0)).sum()) / sizes
        try:
            found = self._values(features)
            scale = float(np.abs(features).max() * np.abs(self.kernel).sum(axis=0).max())
            halves = keras.backend.standardize_dtype(self._layer.compute_dtype) != "float32"
            allowed = (_ROUNDING_OF_HALVES if halves else _ROUNDING) * max(scale, 1.0)
            # A classifier of NaN is told of by whoever scores with it.
            linear = not np.any(np.abs(found - logits) > allowed)
        except Exception as error:  # whatever a layer raises on inputs of one place
            reason = f"{type(error).__name__}: {error}"
        else:
            reason = "" if linear else f"differences of {np.abs(found - logits).max():.2g}"
        if reason:
            raise ValueError(
                "The logits must be linear in the features: a `Dense` layer or a 1x1 convolution, "
                f"and nothing after it but averages over places. Received: {classifier.name!r}, "
                f"whose last layer with weights is {self._layer.name!r}, {reason}"
            )
