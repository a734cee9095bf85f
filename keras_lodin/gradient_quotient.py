"""The Gradient Quotient of any classifier, sample by sample."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin import quotient_forms
from keras_lodin.batch_function import BatchFunction
from keras_lodin.classifier_head import ClassifierHead, find_head
from keras_lodin.data.batches import check_images, check_labels, iterate_batches
from keras_lodin.gradients import ForwardPass
from keras_lodin.progress import track

FORMS = ("softmax", "logits", "pooled")
ESTIMATORS = ("exact",)


def gradient_quotient(
    classifier: keras.Model,
    x: Any,
    y: Any = None,
    form: str = "softmax",
    estimator: str = "exact",
    from_logits: bool | None = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
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
        form: "softmax", "logits" or "pooled". "pooled" has one value for all the samples given,
            which every sample gets.
        estimator: "exact".
        from_logits: as in `keras_lodin.Detector`.
        batch_size: samples per batch, for data that is not batched already. It changes memory and
            speed, not values.
        verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

    Returns:
        float32 array of shape `(samples,)`. 0 where every gradient is zero.

    Raises:
        ValueError: for a form or an estimator that is not known, two classes with "softmax",
            "pooled" on a classifier that ends in a softmax, inputs that are not finite or have the
            wrong shape, labels that are missing or out of range.

    Example:
    ```python
    quotients = keras_lodin.gradient_quotient(classifier, images, labels)
    ```
    """
    head = find_head(classifier, from_logits)
    check_settings(head, form, estimator)

    def norms(batch: Any) -> dict[str, Any]:
        inputs, labels = batch
        forward_pass = ForwardPass(lambda x: head.logits(x, training=False), inputs)
        label_norm, other_norm = norms_of_form(forward_pass, labels, form)
        return {"label": label_norm, "other": other_norm}

    compiled = BatchFunction(norms)
    rows = []
    data = x if y is None else (x, y)
    for inputs, labels in track(
        iterate_batches(data, batch_size), "Computing gradient quotients", verbose
    ):
        check_images(inputs, head.input_shape[1:])
        if labels is None:
            raise ValueError(
                "The quotient needs the label of every sample: pass `y`, or data that yields "
                f"(x, y). Received: y={y}"
            )
        check_labels(labels, head.num_classes)
        rows.append(compiled.predict_on_batch([inputs, labels]))
    label_norm = np.concatenate([row["label"] for row in rows])
    other_norm = np.concatenate([row["other"] for row in rows])
    if form == "pooled":
        label_norm = np.full_like(label_norm, label_norm.sum(dtype="float64"))
        other_norm = np.full_like(other_norm, other_norm.sum(dtype="float64"))
    return ops.convert_to_numpy(quotient_forms.quotient(label_norm, other_norm))


def norms_of_form(forward_pass: ForwardPass, labels: Any, form: str) -> tuple[Any, Any]:
    """The label's norm and the sum of the others', `(batch,)` each, exactly.

    Costs `classes - 1` backward passes for "softmax", `classes` for "logits", two for "pooled".

    Args:
        forward_pass: of the classifier, over a batch.
        labels: integer tensor of shape `(batch,)`.
        form: one of `FORMS`.
    """
    logits = forward_pass.logits
    if form == "softmax":
        differences = forward_pass.input_gradients(quotient_forms.difference_cotangents(logits))
        return quotient_forms.softmax_norms(logits, differences, labels)
    if form == "logits":
        jacobian = forward_pass.input_gradients(quotient_forms.class_cotangents(logits))
        return quotient_forms.logits_norms(jacobian, labels)
    cotangents = quotient_forms.pooled_cotangents(logits, labels)
    return quotient_forms.pooled_norms(forward_pass.input_gradients(cotangents))


def check_settings(head: ClassifierHead, form: str, estimator: str) -> None:
    """Raises ValueError for settings that do not exist or carry no signal on this classifier."""
    if form not in FORMS:
        raise ValueError(f"`form` must be one of {FORMS}. Received: form={form!r}")
    if estimator not in ESTIMATORS:
        raise ValueError(
            f"`estimator` must be one of {ESTIMATORS}. Received: estimator={estimator!r}"
        )
    if form == "softmax" and head.num_classes == 2:
        raise ValueError(
            "With two classes the softmax gradients are each other's negative, so the quotient is "
            "1 for every input and every network: it carries no signal. Use at least three "
            "classes, or form='logits'. Received: form='softmax', a classifier with 2 classes"
        )
    if form == "pooled" and not head.from_logits:
        raise ValueError(
            "form='pooled' needs a classifier that returns logits. On softmax outputs the other "
            "classes sum to 1 - S_y, so the pooled quotient is 1 for every input: it carries no "
            "signal. Drop the softmax from the classifier and compile its loss with "
            "`from_logits=True`, or use form='softmax'. Received: form='pooled', a classifier "
            "that ends in a softmax"
        )
