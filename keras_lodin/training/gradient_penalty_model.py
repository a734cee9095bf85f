"""Training with the classical penalty on the input gradient of the loss: double backpropagation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.data.value_range import Bounds, checked_input_range
from keras_lodin.gradients import ForwardPass
from keras_lodin.models.input_range import judge_input_range
from keras_lodin.training.input_gradient_model import InputGradientModel
from keras_lodin.utils.numbers import checked_number
from keras_lodin.utils.tensor import Tensor


@keras.saving.register_keras_serializable(package="keras_lodin")
class GradientPenaltyModel(InputGradientModel):
    """Trains with `loss = compiled loss + penalty_weight * ||(hi - lo) d CE/dx||_2^2`.

    CE is the cross-entropy of the label, and the mean is over the batch: double backpropagation
    (Drucker & LeCun 1992; as a regulariser of deep networks, Ross & Doshi-Velez 2018). It makes
    the loss flat around the data, whatever the class, and is what the Gradient Quotient, which
    weighs the classes against each other, is to be compared with. A step costs about two plain
    ones for any number of classes.

    Everything else is as in `GQModel`: `compile`, `fit`, classifiers with several exits. The
    training log gains `gradient_penalty`, the mean before it is weighted.

    Args:
        classifier: see `GQModel`. It is trained in place.
        penalty_weight: 0 or more. With 0 the penalty is not computed.
        input_range: `(lo, hi)`, the range of the classifier's input values, or two arrays with one
            number for each feature. Gradients are taken per range and not per unit, so that a
            weight means the same for pixels from 0 to 1 and from 0 to 255. None for what the
            classifier's first layers show, and 0 to 1 where they show nothing.
        from_logits: see `GQModel`.
        name: name of the model.

    Attributes:
        classifier: the plain classifier, sharing its weights.

    Raises:
        ValueError: for a weight that is negative or not finite, an input range that is none, or a
            model that is not a classifier.

    Example:
    ```python
    model = keras_lodin.GradientPenaltyModel(classifier, penalty_weight=0.1)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels)
    ```
    """

    def __init__(
        self,
        classifier: keras.Model,
        penalty_weight: float = 0.1,
        input_range: Bounds | None = None,
        from_logits: bool | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        penalty_weight = checked_number(
            "penalty_weight", penalty_weight, lambda value: value >= 0.0, "finite, 0 or more"
        )
        super().__init__(
            classifier, penalty_weight, "gradient_penalty", 1, from_logits, name, **kwargs
        )
        self.penalty_weight = penalty_weight
        self.input_range = (
            judge_input_range(self.classifier).bounds
            if input_range is None
            else checked_input_range(input_range, self._head.input_shape[1:])
        )

    def penalty(
        self, forward_pass: ForwardPass, labels: Tensor, sample_weight: Tensor | None
    ) -> Tensor:
        """The batch's mean squared length of the gradient, weighted as Keras weights the loss."""
        logits = forward_pass.logits
        label = ops.one_hot(labels, logits.shape[-1], dtype="float32")
        gradient = forward_pass.input_gradients((ops.softmax(logits) - label)[None])[0]
        low, high = self.input_range
        axes = tuple(range(1, len(gradient.shape)))
        squares = ops.sum(ops.square((high - low) * gradient), axis=axes)
        if sample_weight is None:
            return ops.mean(squares)
        return ops.mean(ops.cast(ops.reshape(sample_weight, (-1,)), "float32") * squares)

    def get_config(self) -> dict[str, Any]:
        """What makes this model again, with its classifier inside."""
        return {
            **super().get_config(),
            "penalty_weight": self.penalty_weight,
            "input_range": [np.asarray(bound).tolist() for bound in self.input_range],
        }
