"""Rules that choose a setting from AUROCs against made-up contrasts, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# A family counts as the mean of its members, so that many of a kind do not outvote the others.
GROUPS = {
    "structure": ("feathered", "warp", "phase", "texture"),
    "mixes": ("mean", "mosaic"),
    "noise": ("noise", "cloud"),
    "classes": ("classes",),
}
# What a setting must gain, on the mean over the groups, to take the place of the anchor.
CLEAR_GAIN = 0.005
# Of a normal variable: a gain this many standard errors above zero is below it 5 times in 100.
ONE_SIDED = 1.645
TIED = 1e-6


def weighted_aurocs(
    id_scores: np.ndarray, ood_scores: np.ndarray, id_weights: np.ndarray, ood_weights: np.ndarray
) -> np.ndarray:
    """AUROCs of samples that count several times, a tie one half.

    Args:
        id_scores: `(n,)`, higher = more in-distribution.
        ood_scores: `(m,)`.
        id_weights: how often each counts, `(replicates, n)`.
        ood_weights: the same, `(replicates, m)`.

    Returns:
        `(replicates,)`.
    """
    order = np.argsort(ood_scores, kind="stable")
    sorted_scores = ood_scores[order]
    below = np.concatenate(
        [np.zeros((len(ood_weights), 1)), np.cumsum(ood_weights[:, order], axis=1)], axis=1
    )
    start = np.searchsorted(sorted_scores, id_scores, side="left")
    end = np.searchsorted(sorted_scores, id_scores, side="right")
    won = (below[:, start] + below[:, end]) / 2
    total = id_weights.sum(axis=1) * ood_weights.sum(axis=1)
    return (id_weights * won).sum(axis=1) / np.maximum(total, 1)


def replicates(count: int, samples: int, seed: int) -> np.ndarray:
    """How often each sample counts: once in the first row, as drawn with replacement below."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(samples, np.full(samples, 1 / samples), size=count)
    return np.concatenate([np.ones((1, samples)), drawn])


@dataclass
class Measured:
    """AUROCs of a detector's candidates; the first replicate is the data as they are.

    Attributes:
        candidates: settings, the published default and the anchor among them.
        published: place of the published default.
        anchor: place of what stays unless another is clearly better.
        chosen_by: for each contrast `(replicates, candidates)`.
        worth: for each real OOD set `(replicates, candidates)`.
    """

    candidates: list[tuple[float, ...]]
    published: int
    anchor: int
    chosen_by: dict[str, np.ndarray]
    worth: dict[str, np.ndarray]

    def group(self, name: str) -> np.ndarray:
        """Mean over the members of a group: `(replicates, candidates)`."""
        return np.mean([self.chosen_by[member] for member in GROUPS[name]], axis=0)

    @property
    def groups(self) -> np.ndarray:
        """`(groups, replicates, candidates)`."""
        return np.stack([self.group(name) for name in GROUPS])

    @property
    def mean_worth(self) -> np.ndarray:
        """Mean over the real OOD sets: `(replicates, candidates)`."""
        return np.mean(list(self.worth.values()), axis=0)


Rule = Callable[[Measured], np.ndarray]


def _best(values: np.ndarray, anchor: int) -> np.ndarray:
    """Place of the largest; among those that are tied the anchor, or else the first."""
    tied = values >= values.max(axis=1, keepdims=True) - TIED
    return np.where(tied[:, anchor], anchor, tied.argmax(axis=1))


def _guarded(values: np.ndarray, anchor: int) -> np.ndarray:
    gain = values - values[:, anchor : anchor + 1]
    error = gain[1:].std(axis=0)
    clear = (gain >= CLEAR_GAIN) & (gain > ONE_SIDED * error)
    clear[:, anchor] = True
    return _best(np.where(clear, values, -np.inf), anchor)


def _only(contrast: str) -> Rule:
    return lambda measured: _best(measured.chosen_by[contrast], measured.anchor)


def _without(group: str) -> Rule:
    def choose(measured: Measured) -> np.ndarray:
        others = [measured.group(name) for name in GROUPS if name != group]
        return _best(np.mean(others, axis=0), measured.anchor)

    return choose


def _largest_regret(measured: Measured) -> np.ndarray:
    groups = measured.groups
    return (groups - groups.max(axis=2, keepdims=True)).min(axis=0)


def _ranks(measured: Measured) -> np.ndarray:
    groups = measured.groups
    below = (groups[..., :, None] > groups[..., None, :] + TIED).sum(axis=-1)
    above = (groups[..., :, None] < groups[..., None, :] - TIED).sum(axis=-1)
    return (below - above).mean(axis=0) / groups.shape[-1]


def _mean_of(*contrasts: str) -> Rule:
    return lambda measured: _best(
        np.mean([measured.chosen_by[name] for name in contrasts], axis=0), measured.anchor
    )


PRIMARY = "guarded mean"
RULES: dict[str, Rule] = {
    "published default": lambda m: np.full(len(m.mean_worth), m.published),
    "anchor": lambda m: np.full(len(m.mean_worth), m.anchor),
    "mean": lambda m: _best(m.groups.mean(axis=0), m.anchor),
    PRIMARY: lambda m: _guarded(m.groups.mean(axis=0), m.anchor),
    "worst case": lambda m: _best(m.groups.min(axis=0), m.anchor),
    "largest regret": lambda m: _best(_largest_regret(m), m.anchor),
    "guarded largest regret": lambda m: _guarded(_largest_regret(m), m.anchor),
    "mean rank": lambda m: _best(_ranks(m), m.anchor),
    # Found afterwards, on the two deciding networks.
    "texture, cloud, classes": _mean_of("texture", "cloud", "classes"),
    "blocks16, texture": _mean_of("blocks16", "texture"),
    **{f"mean without {group}": _without(group) for group in GROUPS},
}


def rules(measured: Measured) -> dict[str, Rule]:
    """The named ones, and each single contrast that was measured."""
    return RULES | {f"only {name}": _only(name) for name in measured.chosen_by}


@dataclass(frozen=True)
class Worth:
    """What a rule's choice is worth on real OOD data; AUROCs and differences are fractions.

    Attributes:
        setting: the choice.
        auroc: mean over the OOD sets.
        by_set: on each of them.
        regret: what the best single setting in hindsight has more, on the mean over the sets.
        interval: of the regret, 95 %, over images; choice and hindsight are redone.
        gain: over the published default, on the mean over the sets.
    """

    setting: tuple[float, ...]
    auroc: float
    by_set: dict[str, float]
    regret: float
    interval: tuple[float, float]
    gain: float


def worth(measured: Measured, rule: Rule) -> Worth:
    choice = rule(measured)
    rows = np.arange(len(choice))
    means = measured.mean_worth
    regret = means.max(axis=1) - means[rows, choice]
    low, high = np.percentile(regret[1:], [2.5, 97.5])
    return Worth(
        measured.candidates[choice[0]],
        float(means[0, choice[0]]),
        {name: float(found[0, choice[0]]) for name, found in measured.worth.items()},
        float(regret[0]),
        (float(low), float(high)),
        float(means[0, choice[0]] - means[0, measured.published]),
    )
