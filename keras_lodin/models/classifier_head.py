"""A classifier, split where its logits are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from keras_lodin.utils.tensor import Tensor


@dataclass(frozen=True)
class ClassifierHead:
    """A classifier, split into a function to its logits and one from logits to its output.

    Attributes:
        classifier: the model that is split. Not always the one that was given: see
            `deployed_classifier`.
        logits: `(inputs, training=None) -> (batch, classes)`; shares the classifier's weights.
            For a classifier with several exits, a list of such tensors, the first exit first.
        output: maps logits to what the classifier itself returns (identity or softmax).
        from_logits: True when the classifier itself returns logits.
        num_classes: the number of classes.
        input_shape: the input's shape with the batch first, `(None, ...)`.
        exits: how many exits the classifier has; 0 for one that has one output, no list.
        input_dtype: what `logits` takes: "float32", also of a classifier of integers that are
            quantities, such as pixels; the type of its input where they are names, such as tokens.
        check: raises ValueError if the classifier's end has changed since it was split.
    """

    classifier: keras.Model
    logits: Callable[..., Tensor]
    output: Callable[[Tensor], Tensor]
    from_logits: bool
    num_classes: int
    input_shape: tuple[int | None, ...]
    exits: int = 0
    input_dtype: str = "float32"
    check: Callable[[], None] = lambda: None
