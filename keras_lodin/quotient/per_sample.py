"""The Gradient Quotient of any classifier, sample by sample."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from typing_extensions import Unpack

from keras_lodin.data.batches import check_images, check_labels
from keras_lodin.data.passes import BatchFunction, joined
from keras_lodin.models.differentiability import check_differentiable
from keras_lodin.models.head import find_head
from keras_lodin.quotient import forms
from keras_lodin.quotient.settings import QuotientOptions, QuotientSettings, with_options_shown
from keras_lodin.utils.tensor import Tensor


@with_options_shown
def gradient_quotient(
    classifier: keras.Model,
    x: Any,
    y: Any = None,
    *,
    seed: int | None = None,
    from_logits: bool | None = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
    **options: Unpack[QuotientOptions],
) -> np.ndarray:
    """The Gradient Quotient of every sample, in inference mode.

    See `keras_lodin.GQModel` for the forms. "softmax" lies between 0 and 1: 0 when the label's
    probability does not move with the input, 1 when it moves as much as all others together.

    Args:
        classifier: a built `keras.Model` with one input and one output of shape
            `(batch, classes)`.
        x: inputs: an array, or data that yields `(x, y)`: a tuple, a `tf.data.Dataset`, a
            `keras.utils.PyDataset` or a `keras_lodin.data.Source`.
        y: labels, integers of shape `(samples,)` or one-hot of shape `(samples, classes)`, when
            `x` is an array.
        seed: of what is drawn. None for another draw at every call.
        from_logits: as in `keras_lodin.Detector`.
        batch_size: samples per batch, for data that is not batched already. It changes memory and
            speed, not values.
        verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.
        **options: `form`, `estimator`, `samples`, `norm`, `chunk_size` and `temperature`, see
            `keras_lodin.GQModel`. `form="pooled"` has one value for all the samples given, which
            every sample gets.

    Returns:
        float32 array of shape `(samples,)`. 0 where every gradient is zero.

    Raises:
        ValueError: for settings that are not known or do not go together, two classes with
            "softmax", "pooled" on a classifier that ends in a softmax, inputs that are not finite
            or have the wrong shape, labels that are missing or out of range.

    Example:
    ```python
    quotients = keras_lodin.gradient_quotient(classifier, images, labels)
    ```
    """
    head = find_head(classifier, from_logits)
    settings = QuotientSettings(**options)
    settings.refuse("every")
    settings.check_classifier(head)
    check_differentiable(head, "gradient_quotient")
    end = settings.linear_end(head)
    generator = keras.random.SeedGenerator(seed) if settings.is_random else None

    def norms(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        forward_pass = settings.forward_pass(head, end, inputs, training=False)
        label_norm, other_norm = settings.norms(forward_pass, labels, generator)
        return {"label": label_norm, "other": other_norm}

    def check_known(labels: np.ndarray | None) -> None:
        if labels is None:
            raise ValueError(
                "The quotient needs the label of every sample: pass `y`, or data that yields "
                f"(x, y). Received: y={y}"
            )
        check_labels(labels, head.num_classes)

    batches = BatchFunction(norms).over(
        x if y is None else (x, y),
        "Computing gradient quotients",
        batch_size,
        verbose,
        check=lambda inputs: check_images(inputs, head.input_shape[1:]),
        check_labels=check_known,
    )
    found = joined(batch.outputs for batch in batches)
    label_norm, other_norm = found["label"], found["other"]
    if settings.form == "pooled":
        label_norm = np.full_like(label_norm, label_norm.sum(dtype="float64"))
        other_norm = np.full_like(other_norm, other_norm.sum(dtype="float64"))
    both = map(ops.convert_to_tensor, (label_norm, other_norm))
    return ops.convert_to_numpy(forms.quotient(*both))
