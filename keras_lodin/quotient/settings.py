"""Which quotient is meant and how it is computed, checked once for all who ask."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any, TypedDict, TypeVar, cast, get_args, get_type_hints

from keras_lodin.gradients import ForwardPass
from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.models.linear_end import LinearEnd, find_linear_end
from keras_lodin.quotient.estimators import (
    ESTIMATORS,
    FORMS,
    NORMS,
    Seed,
    exact_norms,
    projected_norms,
    sampled_norms,
)
from keras_lodin.utils.numbers import check_whole, checked_number
from keras_lodin.utils.tensor import Tensor

_SHARE = "share"


class QuotientOptions(TypedDict, total=False):
    """`QuotientSettings` as the keyword arguments of a function that makes one of them at once."""

    form: str
    estimator: str
    samples: int
    every: int
    norm: str | None
    chunk_size: int | None
    temperature: float


@dataclass(frozen=True)
class QuotientSettings:
    """The settings of a Gradient Quotient; `keras_lodin.GQModel` explains each.

    Whoever takes some of them from a user makes one of these at once, and whoever needs some of
    them holds or passes one: their names, defaults and checks stand here, and what the command line
    says of them.

    Args:
        form: "softmax", "logits", "share" or "pooled".
        estimator: "exact", "sampled" or "projected". The exact one takes the features' gradients
            instead of the classes' where it finds few enough of them: see `linear_end`.
        samples: classes that "sampled" draws, or directions "projected".
        every: in training, the quotient is computed on every k-th step.
        norm: "l1" or "l2"; by default "l1", and "l2" for "projected".
        chunk_size: classes that "exact" holds in memory at a time; by default all.
        temperature: T of the softmax form.

    Raises:
        ValueError: for a value that does not exist, or values that do not go together.
    """

    form: str = "softmax"
    estimator: str = "exact"
    samples: int = 1
    every: int = 1
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
        check_count("every", self.every)
        if self.chunk_size is not None:
            check_count("chunk_size", self.chunk_size)
            if self.estimator != "exact":
                raise ValueError(
                    "`chunk_size` bounds the memory of estimator='exact'; the others take a few "
                    "passes for any number of classes. Received: "
                    f"chunk_size={self.chunk_size}, estimator={self.estimator!r}"
                )
        temperature = checked_number(
            "temperature", self.temperature, lambda value: value > 0.0, "finite and positive"
        )
        object.__setattr__(self, "temperature", temperature)  # a float, whatever was given
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

    @staticmethod
    def of(options: Mapping[str, Any]) -> QuotientSettings:
        """Those among other options, by their names; the rest of them at their defaults."""
        return QuotientSettings(**{name: options[name] for name in OPTIONS if name in options})

    @property
    def changed(self) -> QuotientOptions:
        """Those that differ from the defaults."""
        # A dataclass has its defaults as attributes of the class.
        differ = (n for n in OPTIONS if getattr(self, n) != getattr(QuotientSettings, n))
        return cast(QuotientOptions, {name: getattr(self, name) for name in differ})

    def to_dict(self) -> QuotientOptions:
        """As `run.json` holds them; a norm and a chunk size where there is one."""
        found = {name: getattr(self, name) for name in OPTIONS}
        return cast(QuotientOptions, {name: v for name, v in found.items() if v is not None})

    def refuse(self, *names: str) -> None:
        """Raises ValueError if one of these was chosen, where there is no choice."""
        chosen = {name: value for name, value in self.changed.items() if name in names}
        if chosen:
            raise ValueError(
                f"{' and '.join(f'`{name}`' for name in chosen)} cannot be chosen here, where "
                "nothing is trained and the softmax is that of the classifier: leave it out. "
                "Received: " + ", ".join(f"{name}={value!r}" for name, value in chosen.items())
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

    def linear_end(self, head: ClassifierHead) -> LinearEnd | None:
        """The layer through whose features the norms of all classes are cheaper than one by one.

        A backward pass for each feature, and one more in the softmax form, serve every class.

        Returns:
            None where there is no such layer, or more than four features for every five classes:
            below that the passes saved pay for adding up the classes' gradients.
        """
        if self.estimator != "exact" or self.form == "pooled":
            return None
        return find_linear_end(head, most_features=4 * head.num_classes // 5)

    def forward_pass(
        self, head: ClassifierHead, end: LinearEnd | None, inputs: Tensor, training: bool
    ) -> ForwardPass:
        """The pass of a classifier that `norms` takes.

        Args:
            head: of the classifier.
            end: what `linear_end` found of it.
            inputs: tensor of shape `(batch, ...)`.
            training: whether in training mode.
        """
        if end is None:
            return ForwardPass(lambda x: head.logits(x, training=training), inputs)
        return ForwardPass.with_features(
            lambda x: end.outputs(x, training=training), inputs, end.kernel
        )

    def norms(
        self, forward_pass: ForwardPass, labels: Tensor, seed: Seed = None
    ) -> tuple[Tensor, Tensor]:
        """What the quotient divides: float32, `(batch,)` each.

        The label's norm and the sum of the others'; of the form "share" that of all, its own
        included.
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


_Function = TypeVar("_Function", bound=Callable[..., Any])


def with_options_shown(function: _Function) -> _Function:
    """Shows `**options: Unpack[QuotientOptions]` one by one in a function's signature.

    It is what `help`, notebooks and editors show of a function.
    """
    signature = inspect.signature(function)
    *own, options = signature.parameters.values()
    assert options.kind is inspect.Parameter.VAR_KEYWORD
    shown = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(QuotientSettings).parameters.values()
    ]
    function.__signature__ = signature.replace(parameters=[*own, *shown])  # type: ignore[attr-defined]
    return function


# Their names, and the type of each, None aside.
OPTIONS: dict[str, type] = {
    name: next(kind for kind in (*get_args(hint), hint) if kind is not NoneType)
    for name, hint in get_type_hints(QuotientSettings).items()
}


def check_count(name: str, value: object) -> None:
    """Raises ValueError unless a setting is a whole number above 0."""
    check_whole(name, value, "an int above 0")
