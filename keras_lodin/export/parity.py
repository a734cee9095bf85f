"""Does an artifact say what the detector says?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from keras_lodin.data.value_range import InputRange

Outputs = Mapping[str, np.ndarray]
Run = Callable[[np.ndarray], Outputs]

_TINY = float(np.finfo("float32").tiny)

# Gradients below are zero: on the way to them float32 runs out of numbers, and runtimes differ in
# what they make of the last ones.
_UNDERFLOW = 1e-30

# How far outside of their range inputs are tried, in widths of the range, and what is allowed
# there: a piece of an activation that is missing shows, saturation and ties must not.
_REACHES = (8.0, 2.0)
_OUTSIDE = {"logits": 1e-2, "score": 0.1, "gradient": 0.1}
_FADED = 1e-3

# What two runtimes that add in another order may differ by. See `differences`.
_TOLERANCES = {"logits": 1e-4, "score": 1e-3, "gradient": 1e-3, "signs": 2e-3}

# What the quotient that a p-value is may differ by.
_QUOTIENT = 1e-6

# How often a detector must agree with itself: what is random agrees by chance now and then.
_REPETITIONS = 3

# Inputs moved by this much, relative to themselves, stand for another order of additions.
_NOISE = 4e-6
_NOISE_DRAWS = 4
_NOISE_FACTOR = 5.0


class Reference(Protocol):
    """The detector itself, as TensorFlow runs it."""

    def __call__(self, batch: np.ndarray) -> Outputs:
        """Its outputs for a batch, arrays by name."""

    def known(self, batch: np.ndarray) -> Outputs:
        """The same, computed when it is first asked for the outputs of this array."""

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Its p-values of scores."""

    def noisy(self, batch: np.ndarray) -> Iterator[Outputs]:
        """The outputs several times, with other rounding errors each time; or none at all."""


@dataclass(frozen=True)
class Recorded:
    """What a detector gave on another of Keras's backends.

    Attributes:
        backend: its name.
        batches: inputs, and the outputs for them, with `gradient` where the detector takes one.
    """

    backend: str
    batches: Sequence[tuple[np.ndarray, Outputs]]

    def check(
        self, reference: Reference, artifact: Run, threshold: float
    ) -> list[dict[str, float]]:
        """See `check`: the artifact is held to what the other backend gave; for each batch."""
        return [
            check(reference, artifact, batch, threshold, expected)
            for batch, expected in self.batches
        ]


def check_finite(reference: Reference, artifact: Run, batch: np.ndarray) -> None:
    """Raises ValueError if the artifact's score is not a number where the detector's is one.

    For inputs at which a classifier has kinks and ties, where two runtimes may rightly take
    different gradients: those must be gradients all the same.
    """
    try:
        outputs = reference(batch)
    except Exception:  # whatever a classifier raises for inputs that it cannot take: codes, say
        return
    expected, actual = outputs["score"], artifact(batch)["score"]
    lost = np.isfinite(expected) & ~np.isfinite(actual)
    if "gradient" in outputs:
        # A step along what is no number; some kernels make a number of that again.
        gradient = outputs["gradient"]
        lost &= np.isfinite(gradient).reshape(len(gradient), -1).all(axis=1)
    if lost.any():
        raise ValueError(
            "The artifact's score is not a number where the detector's is one, on inputs that are "
            "constant; nothing was written. This is a fault of the export: report it, with "
            f"the classifier's layers. Received: scores {actual} instead of {expected}"
        )


def check_threshold(artifact: Callable[..., Outputs], batch: np.ndarray) -> None:
    """Raises ValueError unless an artifact's verdicts follow its input `threshold`."""
    for threshold, verdict in ((-np.inf, False), (np.inf, True)):
        is_ood = artifact(batch, threshold=np.array(threshold, "float32"))["is_ood"]
        if (is_ood != verdict).any():
            raise ValueError(
                "The artifact's input `threshold` must move `is_ood`; nothing was written. "
                f"Received: is_ood={is_ood} at threshold={threshold}"
            )


def differences(expected: Outputs, actual: Outputs) -> dict[str, float]:
    """How far two sets of outputs lie apart.

    Args:
        expected: the detector's outputs by name, with `gradient`, the input gradient, for a
            detector that takes one.
        actual: the artifact's.

    Returns:
        `logits` and `score`, the largest difference divided by the largest absolute value;
        `gradient`, the norm of the difference divided by the norm; `signs`, the fraction of the
        gradient's entries above 1e-5 of its largest whose sign differs (ODIN steps along it).
    """
    found: dict[str, float] = {}
    for name in ("logits", "score"):
        largest = max(float(np.max(np.abs(expected[name]))), _TINY)
        found[name] = float(np.max(np.abs(actual[name] - expected[name]))) / largest
    if "gradient" in expected:
        right, given = (np.asarray(x["gradient"], "float64") for x in (expected, actual))
        scale = max(float(np.linalg.norm(right)), _UNDERFLOW)
        found["gradient"] = float(np.linalg.norm(given - right)) / scale
        spatial = tuple(range(1, right.ndim))
        largest = np.max(np.abs(right), axis=spatial, keepdims=True)
        counted = np.abs(right) > np.maximum(1e-5 * largest, _UNDERFLOW)
        differs = np.sign(given) != np.sign(right)
        found["signs"] = float(np.mean(differs[counted])) if counted.any() else 0.0
    return found


def check(
    reference: Reference,
    artifact: Run,
    batch: np.ndarray,
    threshold: float,
    recorded: Outputs | None = None,
) -> dict[str, float]:
    """Raises ValueError unless an artifact gives a detector's outputs on a batch, up to rounding.

    A network with many ReLUs may cross one for a rounding error, and its gradient then jumps; one
    that was never trained may have a gradient that is nothing but rounding errors. So where the
    outputs differ by more than rounding, the reference is run again on inputs moved by a few
    rounding errors, and then with a few in every operation; the artifact may differ by some times
    as much as the reference from itself.

    Args:
        reference: gives the detector's outputs, numpy arrays by name.
        artifact: gives the artifact's.
        batch: the inputs.
        threshold: of the detector.
        recorded: None, or the detector's outputs as another of Keras's backends gave them, which
            the artifact is then held to.

    Returns:
        the `differences`.

    Raises:
        ValueError: if an output is missing or differs.
    """
    here, actual = reference.known(batch), artifact(batch)
    expected = here if recorded is None else {name: recorded[name] for name in here}
    if set(actual) != set(expected):
        raise ValueError(
            f"The artifact must have the outputs {sorted(expected)}. Received: {sorted(actual)}"
        )
    for name, value in expected.items():
        if value.shape != actual[name].shape:
            raise ValueError(
                f"The artifact's {name} must have the shape {value.shape}; nothing was written. "
                f"Received: shape {actual[name].shape}"
            )
    found = differences(expected, actual)
    allowed = dict(_TOLERANCES)
    if not _within(found, allowed):
        for name, value in expected.items():
            if not np.isfinite(value).all():
                raise ValueError(
                    "The detector's outputs must be finite to be compared; nothing was written. "
                    "Look for NaN and infinite values in the classifier's weights. "
                    f"Received: {name} with {int(np.sum(~np.isfinite(value)))} of {value.size} "
                    "values that are not"
                )
        # A classifier that differs from itself would allow its artifact anything.
        for _ in range(_REPETITIONS):
            itself = differences(here, reference(batch))
            if _within(itself, allowed):
                continue
            raise ValueError(
                "The detector gives other outputs for the same inputs; nothing was written. "
                "There is something random in the classifier, or it changes at inference. "
                f"Received: relative differences of {_listed(itself)} from itself"
            )
        allowed = _with_noise(reference, batch, here, found, allowed)
    if not _within(found, allowed):
        where = "" if recorded is None else " on the backend that exports it"
        raise ValueError(
            f"The artifact disagrees with the detector{where}; nothing was written. This is a "
            "fault of the export: report it, with the classifier's layers. "
            f"Received: relative differences of {_listed(found)}"
        )
    margin = allowed["score"] * float(np.max(np.abs(expected["score"])))
    decided = np.abs(expected["score"] - threshold) > margin
    if not np.array_equal(actual["is_ood"][decided], expected["is_ood"][decided]):
        raise ValueError(
            "The artifact's `is_ood` differs from the detector's; nothing was written. "
            f"Received: {actual['is_ood']} instead of {expected['is_ood']}"
        )
    # Of the artifact's own scores: a rounding error may move one across a calibration score.
    exact = reference.p_values(actual["score"])
    if not np.allclose(actual["p_value"], exact, rtol=_QUOTIENT, atol=0.0):
        raise ValueError(
            "The artifact's `p_value` differs from the detector's; nothing was written. "
            f"Received: {actual['p_value']} instead of {exact}, for the scores {actual['score']}"
        )
    return found


def check_outside(
    reference: Reference, artifact: Run, inside: np.ndarray, input_range: InputRange
) -> None:
    """Raises ValueError if an artifact is another function far outside of the input range.

    There activations reach pieces that inputs of the range do not. Two runtimes may part there as
    well: where units are saturated, a gradient is a difference of rounding errors, and a largest
    one that everything hangs on is a tie. So inputs on which the gradient has faded are passed
    over, and where it is the logits that differ, inputs closer to the range decide.
    """
    low, high = input_range.bounds
    directions = np.random.default_rng(2).normal(size=inside.shape)
    slope = _slope(reference.known(inside))
    for reach in _REACHES:
        batch = ((low + high) / 2.0 + reach * (high - low) * directions).astype("float32")
        try:
            expected = reference(batch)
        except Exception:  # as above
            continue
        finite = all(np.isfinite(value).all() for value in expected.values())
        if not finite or _slope(expected) < _FADED * slope:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            found = differences(expected, artifact(batch))
            found.pop("signs", None)
            allowed = {name: _OUTSIDE[name] for name in found}
            if not _within(found, allowed):
                allowed = _with_noise(reference, batch, expected, found, allowed)
        if _within(found, allowed):
            return
        if found["logits"] <= allowed["logits"] or reach == _REACHES[-1]:
            raise ValueError(
                "The artifact disagrees with the detector on inputs outside of the input range; "
                "nothing was written. This is a fault of the export: report it, with the "
                f"classifier's layers. Received: relative differences of {_listed(found)}"
            )


def _slope(outputs: Outputs) -> float:
    """The smallest norm of a sample's input gradient; 1 for a detector that takes none."""
    if "gradient" not in outputs:
        return 1.0
    gradient = outputs["gradient"].astype("float64")
    return float(np.min(np.linalg.norm(gradient.reshape(len(gradient), -1), axis=1)))


def _listed(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} by {value:.2g}" for name, value in found.items())


def _within(found: Mapping[str, float], allowed: Mapping[str, float]) -> bool:
    # Not `>`: a NaN must fail.
    return all(value <= allowed[name] for name, value in found.items())


def _with_noise(
    reference: Reference,
    batch: np.ndarray,
    expected: Outputs,
    found: Mapping[str, float],
    allowed: Mapping[str, float],
) -> dict[str, float]:
    """What is allowed, with what the reference differs by from itself for rounding errors.

    Once it allows what was found, no more is tried.
    """
    allowed = dict(allowed)
    for outputs in _moved(reference, batch):
        for name, noise in differences(expected, outputs).items():
            if name in allowed:
                allowed[name] = max(allowed[name], _NOISE_FACTOR * noise)
        if _within(found, allowed):
            break
    return allowed


def _moved(reference: Reference, batch: np.ndarray) -> Iterator[Outputs]:
    """The reference's outputs, moved by rounding errors: of the inputs, then of all operations."""
    rng = np.random.default_rng(1)
    for _ in range(_NOISE_DRAWS):
        noise = rng.uniform(-_NOISE, _NOISE, batch.shape)
        yield reference((batch * (1.0 + noise)).astype("float32"))
    yield from reference.noisy(batch)
