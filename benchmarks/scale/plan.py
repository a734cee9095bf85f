"""Which networks are trained, how, and in which order: the design of docs/full_scale.md as data."""

from __future__ import annotations

from dataclasses import dataclass

OFF = "off"
# The first phase: the poster's setting, the study's cheap lead, and what costs nothing.
FIRST = (OFF, "gq pooled exact 1e-06", "gq logits sampled 1", "logit_norm:0.04")
SECOND = ("label_smoothing:0.1", "label_smoothing:0.1 + gq logits sampled -0.1")
THIRD = (
    "logit_norm:0.04 + gq logits sampled 1",
    "label_smoothing:0.1 + gq logits sampled 1",
    "label_smoothing:0.1 + gq logits exact -0.1",
    "gradient_penalty 0.1",
    "gq softmax exact 1e-06",
    "gq logits exact -0.1",
)
METHODS = (*FIRST, *SECOND, *THIRD)
SEEDS = tuple(range(5))
# Of the recipe, for every network: SGD's momentum, the published weight decay, and how many pixels
# crops may reach beyond an image.
MOMENTUM, WEIGHT_DECAY, PADDING = 0.9, 5e-4, 4


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, the same for every method.

    Attributes:
        epochs: passes over the data.
        batch: images of a step.
        learning_rate: the largest.
        least_accuracy: ID accuracy of a control below which its network has not learned its task.
    """

    epochs: int
    batch: int = 128
    learning_rate: float = 0.1
    least_accuracy: float = 0.0


# ResNet-20's control ends at 87.7 % on these images, after 40 epochs; WRN-34-1 has 34 layers of its
# widths, and how far it gets is not known.
RECIPES = {
    "resnet18": Recipe(16, least_accuracy=0.88),
    "wide_resnet_34_1": Recipe(40, least_accuracy=0.87),
    "resnet20": Recipe(40, least_accuracy=0.87),
}
# Without a GPU: the one network that two processors can train, with fewer epochs and seeds, and
# what answers the question at the least cost.
NIGHTS = ("resnet20", (OFF, "logit_norm:0.04", "gq logits sampled 1"), (0, 1, 2), Recipe(20))


@dataclass(frozen=True)
class Cell:
    """One training run."""

    network: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.network} / {self.method} / seed {self.seed}"


def cells(
    networks: tuple[str, ...] = tuple(RECIPES),
    methods: tuple[str, ...] = METHODS,
    seeds: tuple[int, ...] = SEEDS,
) -> list[Cell]:
    """Cells in the order in which they are run.

    Phase by phase; in a phase network by network, and there seed by seed with the control first,
    so that whatever a budget ends, what has run is complete pairs.
    """
    found = []
    for phase in (FIRST, SECOND, THIRD, tuple(m for m in methods if m not in METHODS)):
        for network in networks:
            for seed in seeds:
                own = [method for method in phase if method in methods]
                found += [Cell(network, method, seed) for method in own]
    return found
