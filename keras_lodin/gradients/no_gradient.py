"""What is said where there is no gradient."""

from __future__ import annotations

from keras_lodin.utils.tensor import Tensor


def no_gradient(inputs: Tensor) -> ValueError:
    """The error for logits that do not depend on a batch of inputs differentiably."""
    return ValueError(
        "The classifier's logits have no gradient with respect to its inputs: somewhere on the way "
        "they are cast to integers, rounded or detached. Expected a classifier that is "
        "differentiable from its input to its logits. MSPDetector, MaxLogitDetector and "
        f"EnergyDetector need no gradient. Received: inputs of shape {tuple(inputs.shape)}"
    )
