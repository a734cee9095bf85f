"""Detectors on what enters the last linear layer and the logits, in NumPy, for all candidates.

All scores are higher = more in-distribution. `Head` holds the layer and the statistics of a fit
set; of a head without some classes they are those of the samples that are given another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import log_softmax, logsumexp

Setting = tuple[float, ...]


class Head:
    """The last linear layer and what a fit set says of its inputs.

    Args:
        weights: `(features, classes)`.
        bias: `(classes,)`.
        features: inputs of the layer for the fit set, `(samples, features)`.
    """

    def __init__(self, weights: np.ndarray, bias: np.ndarray, features: np.ndarray) -> None:
        self.weights, self.bias = weights.astype("float64"), bias.astype("float64")
        self.features = features.astype("float64")

    def logits(self, h: np.ndarray) -> np.ndarray:
        """Of inputs of the layer, `(samples, features)`."""
        return h @ self.weights + self.bias

    def energy(self, h: np.ndarray) -> np.ndarray:
        """The logsumexp of their logits."""
        return logsumexp(self.logits(h), axis=1)

    @cached_property
    def mean(self) -> np.ndarray:
        """Of the fit set, `(features,)`."""
        return self.features.mean(axis=0)

    @cached_property
    def bank(self) -> np.ndarray:
        """The fit set at length 1."""
        return _unit(self.features)

    @cached_property
    def origin(self) -> np.ndarray:
        """Where the logits are 0, as nearly as can be (ViM)."""
        return -np.linalg.pinv(self.weights.T) @ self.bias

    @cached_property
    def axes(self) -> np.ndarray:
        """Eigenvectors of the second moment about `origin`, the largest first."""
        centred = self.features - self.origin
        return np.linalg.eigh(centred.T @ centred / len(centred))[1][:, ::-1]


def _unit(h: np.ndarray) -> np.ndarray:
    return h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-12)


def _energy(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
    z = head.logits(h)
    return [t * logsumexp(z / t, axis=1) for (t,) in settings]


def _msp(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
    # log(p / (1 - p)) ranks as p does, and float64 tells sure samples apart.
    z = np.sort(head.logits(h), axis=1)
    return [z[:, -1] / t - logsumexp(z[:, :-1] / t, axis=1) for (t,) in settings]


def _gen(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
    z = np.sort(head.logits(h), axis=1)[:, ::-1]
    log_p = log_softmax(z, axis=1)
    # The largest p may round to 1: its 1 - p is the sum of the others.
    first = logsumexp(z[:, 1:], axis=1) - logsumexp(z, axis=1)
    log_rest = np.column_stack([first, np.log1p(-np.exp(log_p[:, 1:]))])
    classes = z.shape[1]
    return [
        -np.exp(g * (log_p + log_rest))[:, : max(2, round(m * classes))].sum(axis=1)
        for g, m in settings
    ]


def _react(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
    bounds = [np.percentile(head.features, p) if p < 100 else np.inf for (p,) in settings]
    return [head.energy(np.minimum(h, bound)) for bound in bounds]


def _pruned(kind: str) -> Callable[[Head, np.ndarray, list[Setting]], list[np.ndarray]]:
    """SCALE and ASH, p being the share that is not among the largest; p = 0 is Energy, off."""

    def scores(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
        falling = np.sort(h, axis=1)[:, ::-1]
        total = h.sum(axis=1)
        found = []
        for (p,) in settings:
            if p == 0:
                found.append(head.energy(h))
                continue
            k = h.shape[1] - round(p * h.shape[1])
            largest = falling[:, :k].sum(axis=1)
            ratio = total / np.maximum(largest, 1e-12)
            kept = np.where(h >= falling[:, k - 1 : k], h, 0.0)
            shaped = {
                "scale": h * np.exp(ratio)[:, None],
                "ash_s": kept * np.exp(ratio)[:, None],
                "ash_p": kept,
                "ash_b": (kept > 0) * (total / k)[:, None],
            }[kind]
            found.append(head.energy(shaped))
        return found

    return scores


def _dice(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
    contribution = head.mean[:, None] * head.weights
    found = []
    for (p,) in settings:
        kept = contribution > np.percentile(contribution, 100 * p) if p else True
        found.append(logsumexp(h @ (head.weights * kept) + head.bias, axis=1))
    return found


def _knn(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
    similarity = np.sort(_unit(h) @ head.bank.T, axis=1)[:, ::-1]
    last = similarity.shape[1] - 1
    return [similarity[:, min(round(k) - 1, last)] for (k,) in settings]


def _nnguide(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
    weighted = _unit(h) @ (head.bank * head.energy(head.features)[:, None]).T
    falling = np.sort(weighted, axis=1)[:, ::-1]
    energy = head.energy(h)
    return [energy * (falling[:, : round(k)].mean(axis=1) if k else 1.0) for (k,) in settings]


def _vim(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
    ours, theirs = ((x - head.origin) @ head.axes for x in (head.features, h))
    largest = head.logits(head.features).max(axis=1).mean()
    energy = head.energy(h)
    found = []
    for (share,) in settings:
        if share == 1:
            found.append(energy)
            continue
        # A small fit set has no spread beyond its own number of directions.
        d = round(share * min(head.features.shape))
        typical = np.linalg.norm(ours[:, d:], axis=1).mean()
        residual = np.linalg.norm(theirs[:, d:], axis=1)
        found.append(energy - largest / max(typical, 1e-12) * residual)
    return found


def _nci(head: Head, h: np.ndarray, settings: list[Setting]) -> list[np.ndarray]:
    def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        winners = head.weights.T[head.logits(x).argmax(axis=1)]
        centred = x - head.mean
        aligned = (winners * centred).sum(axis=1) / np.linalg.norm(centred, axis=1)
        return aligned, np.abs(x).sum(axis=1)

    ours, size = parts(head.features)
    unit = np.abs(np.median(ours)) / np.median(size)
    aligned, norm = parts(h)
    return [aligned + (1e-4 if share < 0 else share * unit) * norm for (share,) in settings]


@dataclass(frozen=True)
class Family:
    """A detector and its candidates.

    Attributes:
        candidates: the settings.
        default: the published one.
        anchor: the one that stays unless another is clearly better: "off", where there is such.
        scores: of candidates, from a `Head` and features.
    """

    candidates: tuple[Setting, ...]
    default: Setting
    anchor: Setting
    scores: Callable[[Head, np.ndarray, list[Setting]], list[np.ndarray]] | None


def published(name: str, classes: int) -> Setting:
    """The published default; GEN's M of 100 as a share of the classes."""
    return (0.1, 0.1) if name == "gen" and classes == 1000 else FAMILIES[name].default


def anchored(name: str, classes: int) -> Setting:
    """What stays unless another is clearly better."""
    family = FAMILIES[name]
    return published(name, classes) if family.anchor == family.default else family.anchor


def _single(*values: float) -> tuple[Setting, ...]:
    return tuple((value,) for value in values)


_SHARES = _single(0, 0.3, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95)
_TEMPERATURES = _single(0.5, 1, 2, 5, 10, 100, 1000)
FAMILIES: dict[str, Family] = {
    "energy": Family(_TEMPERATURES, (1,), (1,), _energy),
    "msp": Family(_TEMPERATURES, (1,), (1,), _msp),
    "gen": Family(
        tuple((g, m) for g in (0.01, 0.05, 0.1, 0.3, 0.5, 0.9) for m in (0.1, 0.3, 0.5, 1.0)),
        (0.1, 1.0),
        (0.1, 1.0),
        _gen,
    ),
    "react": Family(_single(60, 70, 80, 85, 90, 95, 99, 100), (90,), (100,), _react),
    "scale": Family(_SHARES, (0.85,), (0,), _pruned("scale")),
    "ash_s": Family(_SHARES, (0.9,), (0,), _pruned("ash_s")),
    "ash_p": Family(_SHARES, (0.65,), (0,), _pruned("ash_p")),
    "ash_b": Family(_SHARES, (0.65,), (0,), _pruned("ash_b")),
    "dice": Family(_single(0, 0.1, 0.3, 0.5, 0.7, 0.9), (0.9,), (0,), _dice),
    "knn": Family(_single(1, 2, 5, 10, 20, 50, 100, 200), (50,), (50,), _knn),
    "nnguide": Family(_single(0, 1, 5, 10, 20, 50, 100), (10,), (10,), _nnguide),
    # d as a share of the features; 1 leaves no residual: Energy.
    "vim": Family(_single(0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1), (0.5,), (0.5,), _vim),
    # a as a share of what makes both terms equal on the fit set; below 0 for OpenOOD's 1e-4.
    "nci": Family(_single(-1, 0, 0.1, 0.3, 1, 3), (-1,), (0,), _nci),
    "odin": Family(
        tuple((t, e) for t in (1, 10, 1000) for e in (0, 0.0005, 0.0014, 0.003, 0.006, 0.012)),
        (1000, 0.0014),
        (1000, 0),
        None,
    ),
}
