"""The norms behind the Gradient Quotient, sample by sample, of inputs that need no label.

With S the softmax and m the PREDICTED class, an input has the norm `||d S_m/dx||`, the sum
`sum_{j != m} ||d S_j/dx||`, and their quotient. The estimators give both norms divided by
`1 - S_m`, without which they would be 0 for every confident input (see `forms.py`). The
true ones are wanted here, and they do underflow: an input whose logits differ by 1,000 has norms of
about 1e-434. So their logarithms are given, to base 10:

    log10 ||d S_m/dx|| = log10(what the estimator gives) + log10(1 - S_m)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from typing_extensions import Unpack

from keras_lodin.data.batches import check_images
from keras_lodin.data.passes import BatchFunction, joined
from keras_lodin.models.differentiability import check_differentiable
from keras_lodin.models.head import find_head
from keras_lodin.quotient import forms
from keras_lodin.quotient.settings import QuotientOptions, QuotientSettings, with_options_shown
from keras_lodin.utils.tensor import Tensor

# What there is of every sample: attributes of `GradientDistributions`.
QUANTITIES = ("log10_label_norm", "log10_other_norm", "quotient")


@dataclass(frozen=True)
class GradientDistributions:
    """The gradient norms of a classifier's outputs, one value per sample.

    Attributes:
        log10_label_norm: base-10 logarithm of the norm of the predicted class's gradient, float64
            of shape `(samples,)`; minus infinity where the gradient is zero.
        log10_other_norm: the same of the sum of the other classes' norms.
        quotient: the first norm over the second, float32 of shape `(samples,)`; 0 where the second
            is zero, as in `keras_lodin.gradient_quotient`.
        predicted: the predicted class, int32 of shape `(samples,)`.
        labels: int64 of shape `(samples,)`, or None for data without labels. They play no part in
            the norms.
    """

    log10_label_norm: np.ndarray
    log10_other_norm: np.ndarray
    quotient: np.ndarray
    predicted: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.predicted)


@with_options_shown
def gradient_distributions(
    classifier: keras.Model,
    x: Any,
    *,
    seed: int | None = None,
    from_logits: bool | None = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
    **options: Unpack[QuotientOptions],
) -> GradientDistributions:
    """The two norms of the Gradient Quotient, and the quotient, for the predicted class.

    The softmax is taken at temperature 1, the network in inference mode.

    Args:
        classifier: a built `keras.Model` with one input and one output of shape
            `(batch, classes)`.
        x: inputs: an array, a tuple `(x, y)`, a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset` or a `keras_lodin.data.Source`.
        seed: of what is drawn. None for another draw at every call.
        from_logits: as in `keras_lodin.Detector`.
        batch_size: samples per batch, for data that is not batched already. It changes memory and
            speed, not values.
        verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.
        **options: `form`, "softmax" or "logits", and `estimator`, `samples`, `norm` and
            `chunk_size`, see `keras_lodin.GQModel`.

    Returns:
        `GradientDistributions`.

    Raises:
        ValueError: for settings that are not known or do not go together, form "pooled", two
            classes with "softmax", inputs that are not finite or have the wrong shape, and
            gradients that are not finite.

    Example:
    ```python
    inside = keras_lodin.gradient_distributions(classifier, id_images)
    outside = keras_lodin.gradient_distributions(classifier, ood_images)
    np.median(inside.log10_label_norm) - np.median(outside.log10_label_norm)
    ```
    """
    settings = norm_settings(**options)
    head = find_head(classifier, from_logits)
    settings.check_classifier(head)
    check_differentiable(head, "gradient_distributions")
    end = settings.linear_end(head)
    generator = keras.random.SeedGenerator(seed) if settings.is_random else None

    def norms(inputs: Tensor) -> dict[str, Tensor]:
        forward_pass = settings.forward_pass(head, end, inputs, training=False)
        predicted = forms.predicted_class(forward_pass.logits)
        label_norm, other_norm = settings.norms(forward_pass, predicted, generator)
        outputs = {"predicted": predicted, "label": label_norm, "other": other_norm}
        if settings.form == "softmax":
            outputs["log_rest"] = forms.log_rest(forward_pass.logits)
        return outputs

    rows: list[dict[str, np.ndarray]] = []
    labels: list[np.ndarray] = []
    for batch in BatchFunction(norms).over(
        x,
        "Computing gradient norms",
        batch_size,
        verbose,
        check=lambda inputs: check_images(inputs, head.input_shape[1:]),
    ):
        _check_norms(batch.outputs, batch.first)
        rows.append(batch.outputs)
        if batch.labels is not None:
            labels.append(batch.labels)
    found = joined(rows)
    log10_rest = found.get("log_rest", np.zeros(1)).astype("float64") / math.log(10.0)
    # Zero has the logarithm that it should have: minus infinity.
    with np.errstate(divide="ignore"):
        log10_label, log10_other = (
            np.log10(found[key].astype("float64")) + log10_rest for key in ("label", "other")
        )
    quotient = forms.quotient(found["label"], found["other"])
    return GradientDistributions(
        log10_label_norm=log10_label,
        log10_other_norm=log10_other,
        quotient=ops.convert_to_numpy(quotient),
        predicted=found["predicted"],
        labels=np.concatenate(labels) if len(labels) == len(rows) else None,
    )


def norm_settings(**options: Unpack[QuotientOptions]) -> QuotientSettings:
    """The settings of norms that are a sample's own.

    Raises:
        ValueError: for settings that are not known or do not go together, or forms without such
            norms.
    """
    settings = QuotientSettings(**options)
    settings.refuse("every", "temperature")
    if settings.form not in ("softmax", "logits"):
        raise ValueError(
            "form='pooled' takes the norms of a whole batch, which are no sample's own, and "
            "form='share' has the norms of form='logits'. Use form='softmax' or form='logits'. "
            f"Received: form={settings.form!r}"
        )
    return settings


def _check_norms(row: dict[str, np.ndarray], first: int) -> None:
    wrong = np.flatnonzero(~np.isfinite(row["label"] + row["other"]))
    if wrong.size:
        place = wrong[0]
        raise ValueError(
            "The norms of the gradients must be finite. Look for NaN and infinite values in the "
            "classifier's weights. Received: "
            f"norms {row['label'][place]} and {row['other'][place]} for example {first + place}"
        )
