"""Which classes are left out at a time, and what ODIN tries on which network."""

from __future__ import annotations

import numpy as np

from contrast.heads import FAMILIES

# Of each set, for the step of ODIN; 1,000 elsewhere.
ODIN_IMAGES = {"imagenet_efficientnet_lite0": 100, "cifar10_resnet20": 500, "cifar6_cnn": 250}


def folds(classes: int, count: int) -> list[np.ndarray]:
    """The classes that are left out, once each, in `count` folds."""
    order = np.random.default_rng(3).permutation(classes)
    return [np.sort(part) for part in np.array_split(order, count)]


def head_folds(classes: int) -> list[np.ndarray]:
    """A fifth of the classes left out at a time, or of few classes two."""
    return folds(classes, 5 if classes > 20 else (classes + 1) // 2)


def odin_folds(classes: int) -> list[np.ndarray]:
    """The same of few classes; of many half of them at a time."""
    return folds(classes, 2) if classes > 20 else head_folds(classes)


def odin_candidates(large: bool) -> list[tuple[float, ...]]:
    """All of ODIN's candidates, or fewer for a network that takes long."""
    candidates = FAMILIES["odin"].candidates
    return [c for c in candidates if not large or (c[0] != 10 and c[1] < 0.01)]
