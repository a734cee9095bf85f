"""One way to train a classifier, as a value that has a name and a price."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """Settings of `keras_lodin.workflows.train` that differ between ways to train.

    The defaults are plain cross-entropy, "GQ off".

    Args:
        gq_weight: see `keras_lodin.GQModel`; so for the next five.
        form: "softmax", "logits", "share" or "pooled".
        estimator: "exact", "sampled" or "projected".
        samples: how many classes or directions the estimator draws.
        every: GQ is computed on every k-th step.
        temperature: T of the softmax form.
        loss: see `keras_lodin.losses`.
        gradient_penalty: weight of `keras_lodin.GradientPenaltyModel`'s penalty.

    Example:
    ```python
    Candidate(gq_weight=-1.0, form="logits", estimator="projected").name  # "gq logits projected -1"
    ```
    """

    gq_weight: float = 0.0
    form: str = "softmax"
    estimator: str = "exact"
    samples: int = 1
    every: int = 1
    temperature: float = 1.0
    loss: str = "cross_entropy"
    gradient_penalty: float = 0.0

    @property
    def name(self) -> str:
        """Short and unique: "off" for plain cross-entropy."""
        parts = [] if self.loss == "cross_entropy" else [self.loss]
        if self.gradient_penalty:
            parts.append(f"gradient_penalty {self.gradient_penalty:g}")
        if self.gq_weight:
            form = self.form if self.temperature == 1.0 else f"{self.form}(T={self.temperature:g})"
            draws = f"{self.estimator}:{self.samples}" if self.samples > 1 else self.estimator
            rhythm = f" every {self.every}" if self.every > 1 else ""
            parts.append(f"gq {form} {draws} {self.gq_weight:g}{rhythm}")
        return " + ".join(parts) or "off"

    @property
    def folder(self) -> str:
        """The name in characters that every file system takes."""
        return re.sub(r"[^A-Za-z0-9.=-]+", "_", self.name.replace("+", "and")).strip("_")

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of `keras_lodin.workflows.train`."""
        return asdict(self)

    def cost(self, num_classes: int) -> float:
        """Price of a training step in plain steps: the floor that `quotient_estimators` explains.

        Args:
            num_classes: of the classifier.
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
