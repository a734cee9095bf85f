"""Ways to train, by the names that the tables have."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What a step's program computes; methods of one kind differ in numbers alone and share a program.
PLAIN, TWO, LOGITS, SOFTMAX, PENALTY = "plain", "two", "logits", "softmax", "penalty"

_LOSS = re.compile(r"(label_smoothing|logit_norm):([0-9.]+)")
_GQ = re.compile(r"gq (pooled exact|logits sampled|logits exact|softmax exact) (-?[0-9.e-]+)")
_PENALTY = re.compile(r"gradient_penalty ([0-9.e-]+)")


@dataclass(frozen=True)
class Method:
    """How a network is trained.

    Attributes:
        name: as in the tables: `off`, a loss, `gq FORM ESTIMATOR WEIGHT`, `gradient_penalty
            WEIGHT`, or a loss and one of these with ` + ` between. Names and values mean what
            they mean in `keras_lodin.losses`, `GQModel` and `GradientPenaltyModel`.
        kind: which program trains it.
        smoothing: of the labels.
        norm_temperature: LogitNorm's; 0 for none.
        weight: of what is added to the loss.
        pooled: whether the quotient is the pooled one, for kind `two`.
    """

    name: str
    kind: str = PLAIN
    smoothing: float = 0.0
    norm_temperature: float = 0.0
    weight: float = 0.0
    pooled: bool = False

    @classmethod
    def of(cls, name: str) -> Method:
        """The method of a name.

        Raises:
            ValueError: if the name is not one.
        """
        found: dict[str, object] = {}
        for part in [] if name == "off" else name.split(" + "):
            if loss := _LOSS.fullmatch(part):
                field = {"label_smoothing": "smoothing", "logit_norm": "norm_temperature"}[loss[1]]
                found[field] = float(loss[2])
            elif gq := _GQ.fullmatch(part):
                kind = TWO if gq[1] in ("pooled exact", "logits sampled") else gq[1].split()[0]
                found |= {"kind": kind, "weight": float(gq[2]), "pooled": gq[1] == "pooled exact"}
            elif penalty := _PENALTY.fullmatch(part):
                found |= {"kind": PENALTY, "weight": float(penalty[1])}
            else:
                raise ValueError(
                    "Expected 'off', 'label_smoothing:0.1', 'logit_norm:0.04', 'gq logits sampled "
                    f"1', 'gradient_penalty 0.1', or two of them with ' + '. Received: {name!r}"
                )
        return cls(name, **found)
