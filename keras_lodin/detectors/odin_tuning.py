"""Choosing ODIN's temperature and epsilon without out-of-distribution data.

ODIN's paper tunes both on examples of what it is to reject, which nobody has in advance.
Generalized ODIN (Hsu et al. 2020) takes the epsilon that maximises the mean in-distribution
score; measured here, that overshoots: the score keeps rising long after the separation has begun
to fall (`docs/design.md` has the figures). So the contrast is made of the in-distribution data
themselves, of three kinds (`keras_lodin.data.contrasts`), and the setting that tells the data best
from them, on the mean, is taken. No label and no out-of-distribution example is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from keras import ops

from keras_lodin.detectors.contrast_pass import separations
from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.odin_score import DEFAULT_EPSILON, DEFAULT_TEMPERATURE, tempered_score
from keras_lodin.detectors.tuning import FEWEST_SAMPLES, MADE_UP, OOD, TIED, Tuning, points
from keras_lodin.detectors.tuning_margin import (
    Placements,
    TuningMargin,
    auroc_margin,
)
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.numbers import single_number
from keras_lodin.utils.tensor import Tensor

TEMPERATURES = (1.0, 2.0, 5.0, 10.0, 100.0, 1000.0)
EPSILONS = (0.0, 0.0005, 0.001, 0.0014, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012)


class _Candidate(NamedTuple):
    """A setting, where its scores stand, and their mean over the in-distribution data."""

    temperature: float
    epsilon: float
    placed: Placements
    mean: float


def tune(
    detector: Detector,
    id_data: object,
    ood_data: object,
    temperatures: Sequence[float],
    epsilons: Sequence[float],
    batch_size: int,
    verbose: int | str,
) -> Tuning:
    """Finds the temperature, then the epsilon, that best tell the data from their contrast.

    Args:
        detector: an `ODINDetector`, which is left as it is.
        id_data: in-distribution inputs.
        ood_data: None for data made of `id_data`, or out-of-distribution inputs.
        temperatures: candidates; of those that are tied the one nearest to ODIN's default, in
            ratio, is taken.
        epsilons: candidates; of those that are tied ODIN's default, or else the smallest, is taken.
        batch_size: samples per batch, for data that is not batched already.
        verbose: as in `ODINDetector.tune`.

    Raises:
        ValueError: for no candidates or unusable ones, and as `Detector.check_inputs` does.
    """
    temperatures = _checked(temperatures, "temperatures", positive=True)
    epsilons = _checked(epsilons, "epsilons", positive=False)

    paired = ood_data is None

    def separation(settings: Sequence[tuple[float, float]], task: str) -> list[_Candidate]:
        """How well temperatures and epsilons tell the data from their contrast, in one pass."""

        def scores(inputs: Tensor) -> list[Tensor]:
            forward_pass = ForwardPass(detector.logits_function, inputs)
            directions = {
                temperature: detector.step_direction(forward_pass, temperature)
                for temperature in {temperature for temperature, epsilon in settings if epsilon}
            }
            columns = []
            for temperature, epsilon in settings:
                logits = forward_pass.logits
                if epsilon:
                    direction = directions[temperature]
                    stepped = detector.step(forward_pass.inputs, direction, epsilon)
                    logits = forward_pass.logits_at(stepped)
                columns.append(tempered_score(logits, temperature))
            return [ops.stack(columns, axis=-1)]

        (found,) = separations([detector], scores, id_data, ood_data, task, batch_size, verbose)
        return [
            _Candidate(*setting, one.placed, one.mean)
            for setting, one in zip(settings, found, strict=True)
        ]

    by_temperature = separation([(t, 0.0) for t in temperatures], "Choosing the temperature")
    temperature = max(
        (candidate.temperature for candidate in _tied_for_best(by_temperature)),
        key=lambda t: (-max(t / DEFAULT_TEMPERATURE, DEFAULT_TEMPERATURE / t), t),
    )
    settings = [(temperature, epsilon) for epsilon in epsilons]
    # Measured beside the candidates, unless they are one.
    defaults = (DEFAULT_TEMPERATURE, DEFAULT_EPSILON)
    beside = [] if defaults in settings else [defaults]
    measured = separation([*settings, *beside], "Choosing epsilon")
    by_epsilon = measured[: len(settings)]
    at_defaults = measured[-1 if beside else settings.index(defaults)]
    epsilon = min(
        (candidate.epsilon for candidate in _tied_for_best(by_epsilon)),
        key=lambda value: (value != DEFAULT_EPSILON, value),
    )
    choice = by_epsilon[epsilons.index(epsilon)]
    candidates = [*by_temperature, *by_epsilon]

    def margin_over(other: _Candidate) -> TuningMargin:
        margin = auroc_margin(choice.placed, other.placed, paired=paired)
        settings = {"temperature": other.temperature, "epsilon": other.epsilon}
        return TuningMargin(settings, other.placed.auroc, *margin)

    others = sorted(
        (
            margin_over(candidate)
            for candidate in candidates
            # Without a step, the chosen temperature is no candidate unless `epsilons` has 0.
            if candidate.temperature != temperature
            or (candidate.epsilon != epsilon and candidate.epsilon in epsilons)
        ),
        key=lambda margin: -margin.auroc,
    )
    over_defaults = margin_over(at_defaults)
    counts = choice.placed.id.size, choice.placed.contrast.size
    too_few = (
        f"Fewer than {FEWEST_SAMPLES} samples cannot tell temperatures and epsilons apart: take "
        f"some hundreds to tune. Received: {counts[0]} in-distribution samples against {counts[1]}"
    )
    return Tuning(
        {"temperature": temperature, "epsilon": epsilon},
        MADE_UP if paired else OOD,
        [
            {"temperature": t, "epsilon": e, "auroc": placed.auroc, "mean_id_score": mean}
            for t, e, placed, mean in candidates
        ],
        choice.placed.auroc,
        *counts,
        over_defaults,
        others[0] if others else None,
        (
            *([too_few] if min(counts) < FEWEST_SAMPLES else []),
            *_not_told_apart(choice, over_defaults, others),
            *_at_the_end(temperature, temperatures, [c.placed for c in by_temperature], paired),
            *_at_the_end_of_epsilons(epsilon, epsilons),
        ),
    )


def _tied_for_best(candidates: list[_Candidate]) -> list[_Candidate]:
    best = max(candidate.placed.auroc for candidate in candidates)
    return [candidate for candidate in candidates if candidate.placed.auroc >= best - TIED]


def _not_told_apart(
    choice: _Candidate, over_defaults: TuningMargin, others: list[TuningMargin]
) -> list[str]:
    """Whether the data say nothing at all, nothing about the candidates, or nothing of a gain."""
    chosen = f"temperature={choice.temperature:g}, epsilon={choice.epsilon:g}"
    is_default = choice[:2] == (DEFAULT_TEMPERATURE, DEFAULT_EPSILON)
    aurocs = [choice.placed.auroc, *(other.auroc for other in others)]
    if len(others) > 0 and max(aurocs) - min(aurocs) <= TIED:
        return [
            "The data tell no candidate from another: every temperature and epsilon has the same "
            f"AUROC, {choice.placed.auroc:.4g}. Taken is what is closest to ODIN's defaults. Look "
            f"whether the inputs differ from each other. Received: {chosen}"
        ]
    # The worst is the easiest to tell apart.
    if others and not others[-1].told_apart:
        return [
            "The candidates cannot be told apart: the choice is better than the worst of them by "
            f"{points(others[-1])}. Give more data. Received: {chosen}"
        ]
    if not is_default and not over_defaults.told_apart:
        return [
            "The choice cannot be told apart from ODIN's defaults, temperature="
            f"{DEFAULT_TEMPERATURE:g} and epsilon={DEFAULT_EPSILON:g}: it is better by "
            f"{points(over_defaults)}. Received: {chosen}"
        ]
    return []


def _at_the_end(
    temperature: float, temperatures: list[float], found: list[Placements], paired: bool
) -> list[str]:
    """Whether a larger temperature than all of the candidates may be better."""
    if len(temperatures) == 1 or temperature != temperatures[-1]:
        return []
    if temperature >= DEFAULT_TEMPERATURE:
        # From here on the order of scores hardly depends on T: only a clear rise is news.
        margin, (low, _) = auroc_margin(found[-1], found[-2], paired=paired)
        if low <= 0.0 or margin < 1e-3:
            return []
    return [
        f"The temperature is the largest candidate: a larger one may be better. Give `tune` more, "
        f"up to {max(DEFAULT_TEMPERATURE, 10 * temperature):g}. "
        f"Received: temperature={temperature:g} of temperatures={temperatures}"
    ]


def _at_the_end_of_epsilons(epsilon: float, epsilons: list[float]) -> list[str]:
    if len(epsilons) == 1 or epsilon == 0.0 or epsilon not in (epsilons[0], epsilons[-1]):
        return []
    end, other = ("largest", "larger") if epsilon == epsilons[-1] else ("smallest", "smaller")
    return [
        f"Epsilon is the {end} candidate: a {other} one may be better. Give `tune` more "
        f"`epsilons`. Received: epsilon={epsilon:g} of epsilons={epsilons}"
    ]


def _checked(values: Sequence[float], name: str, positive: bool) -> list[float]:
    try:
        # A text would be as many numbers as it has digits.
        listed = [] if isinstance(values, (str, bytes)) else list(values)
    except TypeError:
        listed = []
    usable = [
        number
        for number in map(single_number, listed)
        if number is not None
        and math.isfinite(number)
        and (number > 0.0 if positive else number >= 0.0)
    ]
    if not listed or len(usable) < len(listed):
        raise ValueError(
            f"`{name}` must be a list of one or more finite numbers, "
            f"{'above 0' if positive else '0 or more'}. Received: {name}={values!r}"
        )
    return sorted(usable)
