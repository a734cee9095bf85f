"""One way to train a classifier, as a value that has a name and a price."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from keras_lodin.quotient.settings import OPTIONS, QuotientSettings
from keras_lodin.training import losses
from keras_lodin.utils.numbers import checked_number


@dataclass(frozen=True, kw_only=True)
class Candidate(QuotientSettings):
    """Settings of `keras_lodin.workflows.train` that differ between ways to train.

    Those of the quotient, see `keras_lodin.GQModel`, and what stands beside it. The defaults are
    plain cross-entropy, "GQ off".

    Args:
        gq_weight: weight of the quotient.
        loss: see `keras_lodin.losses`.
        gradient_penalty: weight of `keras_lodin.GradientPenaltyModel`'s penalty.

    Example:
    ```python
    candidate = Candidate(gq_weight=1.0, form="logits", estimator="sampled")
    candidate.name                                       # "gq logits sampled 1"
    Candidate.parse("gq logits sampled 1") == candidate  # True
    ```
    """

    gq_weight: float = 0.0
    loss: str = "cross_entropy"
    gradient_penalty: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("gq_weight", self.gq_weight, lambda value: True, "a finite number")
        checked_number(
            "gradient_penalty", self.gradient_penalty, lambda value: value >= 0.0, "0 or more"
        )

    @property
    def name(self) -> str:
        """Short and unique: "off" for plain cross-entropy."""
        parts = [] if self.loss == "cross_entropy" else [self.loss]
        if self.gradient_penalty:
            parts.append(f"gradient_penalty {self.gradient_penalty:g}")
        if self.gq_weight:
            form = self.form if self.temperature == 1.0 else f"{self.form}(T={self.temperature:g})"
            draws = f"{self.estimator}:{self.samples}" if self.samples > 1 else self.estimator
            others = [f" {name} {v}" for name, v in self.changed.items() if name in _AT_THE_END]
            parts.append(f"gq {form} {draws} {self.gq_weight:g}{''.join(others)}")
        return " + ".join(parts) or "off"

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """The candidate of a name.

        Args:
            text: parts joined by " + ": `gq FORM ESTIMATOR WEIGHT`, where FORM may be
                `softmax(T=1000)`, ESTIMATOR `sampled:2`, and `every 4`, `norm l2` and
                `chunk_size 2` may follow; or `gradient_penalty WEIGHT`; and a loss such as
                `label_smoothing:0.1`.

        Raises:
            ValueError: for text that is none.
        """
        if not isinstance(text, str):
            raise ValueError(f"A candidate is read from its name. Received: candidate={text!r}")
        settings: dict[str, Any] = {}
        for part in re.split(r"\s+\+\s+", text.strip()):
            found = _part(part)
            if found is None or settings.keys() & found.keys():
                raise ValueError(
                    "A candidate is written as `gq FORM ESTIMATOR WEIGHT`, "
                    "`gradient_penalty WEIGHT`, a loss such as `label_smoothing:0.1`, or a loss "
                    f"and one of the others joined by ` + `. Received: candidate={text!r}"
                )
            settings |= found
        return cls(**settings)

    @property
    def folder(self) -> str:
        """The name in characters that every file system takes."""
        return re.sub(r"[^A-Za-z0-9.=-]+", "_", self.name.replace("+", "and")).strip("_")

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of `keras_lodin.workflows.train`."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def cost(self, num_classes: int) -> float:
        """Price of a training step in plain steps: the floor that `quotient.estimators` explains.

        Args:
            num_classes: of the classifier.

        Returns:
            a number, 1 for plain training.
        """
        if self.gradient_penalty:
            return 2.0
        if not self.gq_weight:
            return 1.0
        form = "logits" if self.form == "share" else self.form
        passes = {
            "exact": {"softmax": num_classes - 1, "logits": num_classes, "pooled": 2},
            "sampled": {"softmax": self.samples + 2, "logits": self.samples + 1},
            "projected": dict.fromkeys(("softmax", "logits", "pooled"), self.samples),
        }[self.estimator][form]
        return 1.0 + passes / self.every


# How a value of each type is written.
_WORDS: dict[type, str] = {
    int: r"\d+",
    float: r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?",
    str: r"[a-z]\w*",
}
_TYPES: dict[str, type] = {**OPTIONS, "gq_weight": float, "gradient_penalty": float}
_WORD = {name: f"(?P<{name}>{_WORDS[kind]})" for name, kind in _TYPES.items()}
# The settings of the quotient that have no place of their own before the weight.
_AT_THE_END = [n for n in OPTIONS if n not in ("form", "temperature", "estimator", "samples")]
_PARTS = (
    re.compile(
        rf"gq\s+{_WORD['form']}(?:\(T={_WORD['temperature']}\))?"
        rf"\s+{_WORD['estimator']}(?::{_WORD['samples']})?\s+{_WORD['gq_weight']}"
        + "".join(rf"(?:\s+{name}\s+{_WORD[name]})?" for name in _AT_THE_END)
    ),
    re.compile(rf"gradient_penalty\s+{_WORD['gradient_penalty']}"),
)


def _part(text: str) -> dict[str, Any] | None:
    """The settings that one part of a name stands for; None if it is no part of a name."""
    for pattern in _PARTS:
        match = pattern.fullmatch(text)
        if match:
            given = {name: text for name, text in match.groupdict().items() if text is not None}
            return {name: _TYPES[name](text) for name, text in given.items()}
    if text == "off":
        return {}
    if text.partition(":")[0] in losses.names():
        losses.build(text, from_logits=True)
        return {"loss": text}
    return None
