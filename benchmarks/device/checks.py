"""Whether the device computes what the CPU does: the quotient, every form, and the detectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

import keras_lodin
from tests.core import expected, networks

# A direction's derivative is a difference of two quotients this far apart.
_STEP = 1e-5
_NETWORKS = (("softplus", True), ("relu", False), ("gelu", True))
_FORMS = sorted(expected.FORMS, key=lambda form: form not in ("softmax", "logits", "pooled"))
_DETECTORS = ("mahalanobis", "mood", "energy", "max_logit", "msp")
FIRST_CHECKS = 7
# Relative and absolute, a few times what the tests allow on a CPU.
_TOLERANCES = {"quotient": (1e-3, 1e-4), "form": (2e-3, 2e-4), "detector": (1e-3, 1e-3)}


def checks() -> dict[str, Callable[[], dict[str, Any]]]:
    """Every check by its name, the `FIRST_CHECKS` before all others.

    A check returns `worst`, the largest difference over what is allowed for it, so that 1 is the
    most; what that was a difference of; and whether it passed.
    """
    known = np.load(expected.FOLDER / "expected.npz")

    def of(group: str) -> dict[str, np.ndarray]:
        return {key.split(": ")[1]: known[key] for key in known if key.startswith(f"{group}: ")}

    def quotient(activation: str, normalization: bool) -> dict[str, Any]:
        found = quotient_found(activation, normalization)
        return _compared(found, quotient_expected(activation, normalization), "quotient")

    def scores(name: str) -> dict[str, Any]:
        return _compared(_scores(name), of(f"detector {name}"), "detector")

    def epoch(form: str) -> dict[str, Any]:
        key = f"softplus normalized {form}"
        found = expected.after_training(*expected.TRAININGS[key])
        return _compared(found, of(f"trained {key}"), "form")

    first, then = _FORMS[:3], _FORMS[3:]
    return {
        **{
            f"GQ against float64: {activation}{', normalized' * normalization}": partial(
                quotient, activation, normalization
            )
            for activation, normalization in _NETWORKS
        },
        "scores against the CPU: odin": partial(scores, "odin"),
        **{f"an epoch against the CPU: {form}": partial(epoch, form) for form in first},
        **{f"scores against the CPU: {name}": partial(scores, name) for name in _DETECTORS},
        **{f"an epoch against the CPU: {form}": partial(epoch, form) for form in then},
    }


def quotient_found(activation: str, normalization: bool) -> dict[str, np.ndarray]:
    """The mean quotient of a batch, and its derivatives along some directions of the weights.

    The softmax form, or where samples act on each other, through their common statistics, that of
    the logits: its definition says all of it.
    """
    model = networks.classifier(activation, normalization)
    before = _trainable(model)
    # The quotient alone, and a step that is minus its gradient.
    form = "logits" if normalization else "softmax"
    trained = keras_lodin.GQModel(model, gq_weight=1.0, form=form, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.SGD(1.0), loss, loss_weights=0.0)
    x, y = networks.batch()
    history = trained.fit(x, y, batch_size=len(x), verbose=0).history
    after = _trainable(model)
    slopes = [
        sum(np.sum((before[name] - after[name]) * part) for name, part in direction.items())
        for direction in _directions(before)
    ]
    return {"quotient": np.array(history["gq"][0]), "slopes": np.array(slopes)}


def quotient_expected(activation: str, normalization: bool) -> dict[str, np.ndarray]:
    """The same in float64, by differences: nothing of the package computes it."""
    model = networks.classifier(activation, normalization)
    reference = networks.Reference(model, activation)
    x, y = networks.batch()
    x = x.astype("float64")

    def quotient(weights: dict[str, np.ndarray] | None = None) -> float:
        logits = reference.logits(x, weights)
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        softmax = exponentials / exponentials.sum(1, keepdims=True)
        norms = []
        for one in np.eye(networks.CLASSES):
            cotangent = np.tile(one, (len(x), 1))
            if not normalization:  # the gradient of that class's softmax by the logits
                cotangent = (softmax * one).sum(1, keepdims=True) * (one - softmax)
            gradient = reference.input_gradient(x, cotangent, weights)
            norms.append(np.abs(gradient).reshape(len(x), -1).sum(1))
        own = np.take_along_axis(np.stack(norms, 1), y[:, None], 1)[:, 0]
        return float(np.mean(own / (np.sum(norms, 0) - own)))

    slopes = []
    for direction in _directions(_trainable(model)):
        sides = [
            quotient(
                {
                    name: weight + sign * _STEP * direction.get(name, 0.0)
                    for name, weight in reference.weights.items()
                }
            )
            for sign in (1, -1)
        ]
        slopes.append((sides[0] - sides[1]) / (2 * _STEP))
    return {"quotient": np.array(quotient()), "slopes": np.array(slopes)}


def _trainable(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights by the names that `Reference` has for them, float64."""
    return {
        f"{weight.path.split('/')[-2]}/{weight.name}": keras.ops.convert_to_numpy(weight).astype(
            "float64"
        )
        for weight in model.trainable_weights
    }


def _directions(weights: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """One along all weights, and one along each kernel."""
    rng = np.random.default_rng(7)
    drawn = {name: rng.normal(size=value.shape) for name, value in weights.items()}
    return [drawn, *({name: part} for name, part in drawn.items() if "kernel" in name)]


def _scores(name: str) -> dict[str, np.ndarray]:
    detector = keras_lodin.models.load(expected.FOLDER / "saved" / f"{name}.keras")
    return detector.predict(expected.to_score(name), batch_size=32, verbose=0)


def _compared(
    found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], kind: str
) -> dict[str, Any]:
    relative, absolute = _TOLERANCES[kind]
    worst, where = 0.0, ""
    for name, value in wanted.items():
        value = np.asarray(value, "float64")
        difference = np.abs(np.asarray(found[name], "float64") - value)
        # NaN is as far off as can be.
        off = float(
            np.max(np.nan_to_num(difference / (absolute + relative * np.abs(value)), nan=1e9))
        )
        if off >= worst:
            worst, where = off, name
    return {"worst": float(f"{worst:.3g}"), "of": where, "passed": worst <= 1}
