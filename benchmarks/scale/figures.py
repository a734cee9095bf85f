"""Figures of scores by keras_lodin's definitions, and the scores as they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scale import product
from scale.data import OOD, TEST
from scale.plan import Recipe

metrics = product.load("metrics.figures")

DETECTORS = ("msp", "max_logit", "energy", "odin")


def figures(scores: np.ndarray, sizes: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Detector -> AUROC and FPR95 (ID positive) on each OOD set.

    Args:
        scores: float32, a row for each of `DETECTORS` and perhaps more, of all test images one
            set after the other.
        sizes: the sets in their order, and how many images each has.
    """
    edges = np.cumsum([0, *sizes.values()])
    parts = {
        name: scores[:, first:last]
        for name, first, last in zip(sizes, edges, edges[1:], strict=False)
    }
    found: dict[str, dict[str, float]] = {}
    for row, detector in enumerate(DETECTORS):
        ours = parts[TEST][row]
        found[detector] = {}
        for name in OOD:
            both = ours, parts[name][row]
            # A training that diverged is a row of its own, not an error.
            is_finite = all(np.isfinite(part).all() for part in both)
            found[detector][f"auroc:{name}"] = metrics.auroc(*both) if is_finite else np.nan
            found[detector][f"fpr95:{name}"] = metrics.fpr_at_tpr(*both) if is_finite else np.nan
    return found


def figure_rows(
    recipe: Recipe,
    curve: list[dict[str, Any]],
    classes: np.ndarray,
    truth: np.ndarray,
    scores: np.ndarray,
    sizes: Mapping[str, int],
    others: dict[str, Any],
) -> list[dict[str, Any]]:
    """The rows of a finished cell, one for each detector.

    Args:
        recipe: how it was trained.
        curve: rows of its training curve.
        classes: predicted classes of all test images.
        truth: labels of the in-distribution test set, which is the first.
        scores: of all test images, as `figures` takes them.
        sizes: the sets in their order, and how many images each has.
        others: columns that all rows have.
    """
    common = {
        "epochs": recipe.epochs,
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "id_accuracy": float(np.mean(classes[: len(truth)] == truth)),
        "loss": curve[-1]["loss"],
        "added": curve[-1]["added"],
        **others,
    }
    return [
        {"detector": detector, **common, **{k: round(v, 6) for k, v in own.items()}}
        for detector, own in figures(scores, sizes).items()
    ]


def kept(scores: np.ndarray) -> np.ndarray:
    """Scores as they are kept: float16 `(4, count)`, of the order that the detectors give.

    MSP as its log-odds; each row times a power of two that brings its largest value to about
    1,000: so half precision keeps three digits of each, and LogitNorm's logits, which may be long,
    stay finite.
    """
    _, largest, energy, odin, odds = scores
    rows = np.stack([np.clip(odds, -1e4, 1e4), largest, energy, odin])
    size = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-30)
    return (rows * np.exp2(10.0 - np.ceil(np.log2(size)))).astype("float16")
