"""What a row of the poster is made of: a network, how it is trained, a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

from keras_lodin.quotient.settings import OPTIONS, QuotientSettings


@dataclass(frozen=True, kw_only=True)
class Training(QuotientSettings):
    """How a network is trained; see `keras_lodin.workflows.train` for each setting.

    The defaults are the published recipe of the poster's networks, without GQ.
    """

    form: str = "pooled"
    epochs: int = 200
    batch_size: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    augment: str | None = "crop-flip"
    gq_weight: float = 0.0
    loss_weights: tuple[float, ...] = (1.0,)
    freeze_batch_norm: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of `keras_lodin.workflows.train`, as a summary holds them.

        Of the quotient its form and estimator, and what else differs from the usual.
        """
        kept = {"form", "estimator", *self.changed}
        return {
            name: value
            for name, value in asdict(self).items()
            if name in kept or name not in OPTIONS
        }


@dataclass(frozen=True)
class Published:
    """A row of the poster, in per cent. Single runs. FPR95: ID positive."""

    auroc: float
    fpr95: float
    accuracy: float


@dataclass(frozen=True)
class Recipe:
    """One row: what is trained on what, and which detector is measured.

    Args:
        name: what the command line calls it.
        id: the in-distribution data, a key of every scale's `data`.
        network: name of the network (`keras_lodin.models.names()`), or `PRETRAINED` for a
            classifier that the user brings.
        detector: name of the detector whose figures are the row's.
        training: how the network is trained; None for a pretrained one that is left as it is.
        published: the poster's figures, where it has some.
        note: what a reader of the row should know.
    """

    name: str
    id: str
    network: str
    detector: str
    training: Training | None = field(default_factory=Training)
    published: Published | None = None
    note: str = ""


PRETRAINED = "pretrained"


class Mean(TypedDict):
    """A figure over the seeds, as a summary holds it: its mean, Student's 95 % interval, all."""

    mean: float
    interval: Sequence[float] | None
    values: Mapping[int, float] | Mapping[str, float]
