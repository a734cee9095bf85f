"""Which quotient is meant and how it is computed, checked once for all who ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from keras_lodin.gradients.forward_pass import ForwardPass
from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.quotient.estimators import (
    ESTIMATORS,
    FORMS,
    NORMS,
    exact_norms,
    projected_norms,
    sampled_norms,
)
from keras_lodin.utils.numbers import check_whole, checked_number

_SHARE = "share"


@dataclass(frozen=True)
class QuotientSettings:
    """The settings of a Gradient Quotient; `keras_lodin.GQModel` explains each.

    Args:
        form: one of `FORMS`, or "share".
        estimator: one of `ESTIMATORS`.
        samples: how many classes "sampled" draws, or directions "projected".
        norm: one of `NORMS`, or None for the one that the estimator estimates best.
        chunk_size: None, or how many classes "exact" holds in memory at a time.
        temperature: T of the softmax, for the softmax form.

    Raises:
        ValueError: for a value that does not exist, or values that do not go together.
    """

    form: str = "softmax"
    estimator: str = "exact"
    samples: int = 1
    norm: str | None = None
    chunk_size: int | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        forms = (*FORMS, _SHARE)
        for name, known in (("form", forms), ("estimator", ESTIMATORS), ("norm", (*NORMS, None))):
            value = getattr(self, name)
            if value not in known:
                listed = ", ".join(map(repr, known))
                raise ValueError(f"`{name}` must be one of {listed}. Received: {name}={value!r}")
        check_count("samples", self.samples)
        if self.chunk_size is not None:
            check_count("chunk_size", self.chunk_size)
            if self.estimator != "exact":
                raise ValueError(
                    "`chunk_size` bounds the memory of estimator='exact'; the others take a few "
                    "passes for any number of classes. Received: "
                    f"chunk_size={self.chunk_size}, estimator={self.estimator!r}"
                )
        checked_number(
            "temperature", self.temperature, lambda value: value > 0.0, "finite and positive"
        )
        if self.form != "softmax" and self.temperature != 1.0:
            raise ValueError(
                "`temperature` divides the logits before the softmax, so it is for form='softmax'. "
                f"Received: temperature={self.temperature}, form={self.form!r}"
            )
        if self.estimator == "exact" and self.samples != 1:
            raise ValueError(
                "`samples` is for the estimators that draw; estimator='exact' takes every class. "
                f"Received: samples={self.samples}, estimator='exact'"
            )
        if self.estimator == "sampled" and self.form == "pooled":
            raise ValueError(
                "form='pooled' takes two passes for any number of classes, so there is nothing to "
                "draw: use estimator='exact'. Received: form='pooled', estimator='sampled'"
            )

    @property
    def is_random(self) -> bool:
        """Whether the estimator draws."""
        return self.estimator != "exact"

    @property
    def norm_used(self) -> str:
        """The norm: as given, or the one that the estimator estimates best."""
        return self.norm or ("l2" if self.estimator == "projected" else "l1")

    def check_classifier(self, head: ClassifierHead) -> None:
        """Raises ValueError if the form carries no signal on a classifier."""
        if self.form == "softmax" and head.num_classes == 2:
            raise ValueError(
                "With two classes the softmax gradients are each other's negative, so the quotient "
                "is 1 for every input and every network: it carries no signal. Use at least three "
                "classes, or form='logits'. Received: form='softmax', a classifier with 2 classes"
            )
        if self.form == "pooled" and not head.from_logits:
            raise ValueError(
                "form='pooled' needs a classifier that returns logits. On softmax outputs the "
                "other classes sum to 1 - S_y, so the pooled quotient is 1 for every input: it "
                "carries no signal. Drop the softmax from the classifier and compile its loss with "
                "`from_logits=True`, or use form='softmax'. Received: form='pooled', a classifier "
                "that ends in a softmax"
            )

    def norms(self, forward_pass: ForwardPass, labels: Any, seed: Any = None) -> tuple[Any, Any]:
        """What the quotient divides: float32, `(batch,)` each.

        The label's norm and the sum of the others'; of the form "share" that of all, its own
        included.

        Args:
            forward_pass: of the classifier, over a batch.
            labels: integer tensor of shape `(batch,)`.
            seed: an integer or a `keras.random.SeedGenerator`, for an estimator that draws.
        """
        if self.form == _SHARE:
            label_norm, other_norm = replace(self, form="logits").norms(forward_pass, labels, seed)
            return label_norm, label_norm + other_norm
        norm = self.norm_used
        if self.estimator == "exact":
            return exact_norms(
                forward_pass, labels, self.form, norm, self.chunk_size, self.temperature
            )
        estimate = sampled_norms if self.estimator == "sampled" else projected_norms
        return estimate(forward_pass, labels, self.form, self.samples, norm, seed, self.temperature)


def check_count(name: str, value: Any) -> None:
    """Raises ValueError unless a setting is a whole number above 0."""
    check_whole(name, value, "an int above 0")
