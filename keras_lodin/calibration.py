"""Choosing ODIN's temperature and epsilon without out-of-distribution data.

ODIN's paper tunes both on examples of what it is to reject, which nobody has in advance.
Generalized ODIN (Hsu et al. 2020) takes the epsilon that maximises the mean in-distribution
score; measured here, that overshoots: the score keeps rising long after the separation has begun
to fall (`docs/design.md` has the figures). So the contrast is made from the in-distribution data
themselves: `scrambled` keeps their pixels, colours and textures and breaks their arrangement, and
the setting that best tells the data from their scrambled copies is taken. No label and no
out-of-distribution example is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import ops

from keras_lodin.batch_function import BatchFunction
from keras_lodin.data.batches import iterate_batches
from keras_lodin.finite_scores import check_scores
from keras_lodin.gradients import ForwardPass
from keras_lodin.metrics import auroc
from keras_lodin.odin_score import tempered_score
from keras_lodin.progress import track

TEMPERATURES = (1.0, 2.0, 5.0, 10.0, 100.0, 1000.0)
EPSILONS = (0.0, 0.0005, 0.001, 0.0014, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012)


@dataclass(frozen=True)
class Tuning:
    """What `ODINDetector.tune` chose, and what it chose from.

    Attributes:
        temperature: the temperature chosen, the best at epsilon 0.
        epsilon: the epsilon chosen, the best at that temperature.
        contrast: "scrambled" or "ood_data": what the in-distribution data were told from.
        candidates: for each candidate a dict of `temperature`, `epsilon`, `auroc` (of the data
            against the contrast, a fraction) and `mean_id_score`, which Generalized ODIN's rule
            would maximise.
    """

    temperature: float
    epsilon: float
    contrast: str
    candidates: list[dict[str, float]] = field(repr=False)


def tune(
    detector: Any,
    id_data: Any,
    ood_data: Any,
    temperatures: Sequence[float],
    epsilons: Sequence[float],
    batch_size: int,
    verbose: int | str,
) -> Tuning:
    """Finds the temperature, then the epsilon, that best tell the data from their contrast.

    Args:
        detector: an `ODINDetector`, which is left as it is.
        id_data: in-distribution inputs.
        ood_data: None for scrambled copies of `id_data`, or out-of-distribution inputs.
        temperatures: candidates; ties go to the larger.
        epsilons: candidates; ties go to the smaller.
        batch_size: samples per batch, for data that is not batched already.
        verbose: as in `ODINDetector.tune`.

    Raises:
        ValueError: for no candidates or unusable ones, and as `Detector.check_inputs` does.
    """
    temperatures = _checked(temperatures, "temperatures", positive=True)
    epsilons = _checked(epsilons, "epsilons", positive=False)

    def separation(function: Any, names: Sequence[float], task: str) -> list[tuple[float, float]]:
        """AUROC and mean in-distribution score of each candidate, in two passes of the data."""
        compiled = BatchFunction(function)
        ours, theirs = [], []
        for inputs in _checked_batches(detector, id_data, "id_data", batch_size, task, verbose):
            ours.append(compiled(inputs))
            if ood_data is None:
                theirs.append(compiled(scrambled(inputs)))
        if ood_data is not None:
            for inputs in _checked_batches(
                detector, ood_data, "ood_data", batch_size, task, verbose
            ):
                theirs.append(compiled(inputs))
        id_scores, contrast_scores = np.concatenate(ours), np.concatenate(theirs)
        # A NaN is the least of any numbers.
        check_scores(detector.name, id_scores.min(axis=-1))
        return [
            (auroc(id_scores[:, i], contrast_scores[:, i]), float(id_scores[:, i].mean()))
            for i in range(len(names))
        ]

    def at_temperatures(inputs: Any) -> Any:
        logits = ForwardPass(detector.logits_function, inputs).logits
        return ops.stack([tempered_score(logits, t) for t in temperatures], axis=-1)

    by_temperature = separation(at_temperatures, temperatures, "Choosing the temperature")
    temperature = max(zip(by_temperature, temperatures, strict=True), key=_first_by_auroc)[1]

    def at_epsilons(inputs: Any) -> Any:
        forward_pass = ForwardPass(detector.logits_function, inputs)
        direction = detector.step_direction(forward_pass, temperature)
        return ops.stack(
            [
                tempered_score(
                    forward_pass.logits_at(detector.step(forward_pass.inputs, direction, epsilon)),
                    temperature,
                )
                for epsilon in epsilons
            ],
            axis=-1,
        )

    by_epsilon = separation(at_epsilons, epsilons, "Choosing epsilon")
    descending = [-epsilon for epsilon in epsilons]
    epsilon = -max(zip(by_epsilon, descending, strict=True), key=_first_by_auroc)[1]

    candidates = [
        {"temperature": t, "epsilon": 0.0, "auroc": found[0], "mean_id_score": found[1]}
        for t, found in zip(temperatures, by_temperature, strict=True)
    ] + [
        {"temperature": temperature, "epsilon": e, "auroc": found[0], "mean_id_score": found[1]}
        for e, found in zip(epsilons, by_epsilon, strict=True)
    ]
    contrast = "scrambled" if ood_data is None else "ood_data"
    return Tuning(temperature, epsilon, contrast, candidates)


def scrambled(inputs: Any, seed: int = 0) -> np.ndarray:
    """Copies of inputs that keep their values and lose their arrangement.

    Images, series and volumes are cut into about 16 equal blocks that change places within the
    sample; a remainder at the far edge stays. Vectors have no arrangement within a sample, so
    each feature is shuffled among the samples instead, which keeps every feature's distribution
    and breaks how features go together.

    Args:
        inputs: array of shape `(batch, ...)`, channels last.
        seed: of the shuffling.

    Returns:
        array of the same shape and dtype.
    """
    values = np.array(inputs)
    rng = np.random.default_rng(seed)
    if values.ndim == 2:
        return rng.permuted(values, axis=0)
    axes = values.ndim - 2
    blocks = [min(size, max(2, round(16 ** (1 / axes)))) for size in values.shape[1:-1]]
    sizes = [size // count for size, count in zip(values.shape[1:-1], blocks, strict=True)]
    corners = [
        tuple(slice(i * size, (i + 1) * size) for i, size in zip(place, sizes, strict=True))
        for place in np.ndindex(*blocks)
    ]
    pieces = np.stack([values[(slice(None), *corner)] for corner in corners], axis=1)
    order = rng.permuted(np.tile(np.arange(len(corners)), (len(values), 1)), axis=1)
    for slot, corner in enumerate(corners):
        values[(slice(None), *corner)] = pieces[np.arange(len(values)), order[:, slot]]
    return values


def _checked_batches(
    detector: Any, data: Any, name: str, batch_size: int, task: str, verbose: Any
) -> Any:
    try:
        for inputs, _ in track(iterate_batches(data, batch_size), task, verbose):
            detector.check_inputs(inputs)
            yield inputs
    except TypeError as error:
        raise TypeError(f"Data set `{name}`: {error}") from error
    except ValueError as error:
        raise ValueError(f"Data set `{name}`: {error}") from error


def _first_by_auroc(candidate: tuple[tuple[float, float], float]) -> tuple[float, float]:
    (separation, _), value = candidate
    return separation, value


def _checked(values: Sequence[float], name: str, positive: bool) -> list[float]:
    try:
        checked = sorted(float(value) for value in values)
    except (TypeError, ValueError):
        checked = []
    lowest_allowed = np.nextafter(0.0, 1.0) if positive else 0.0
    if not checked or not np.isfinite(checked).all() or checked[0] < lowest_allowed:
        raise ValueError(
            f"`{name}` must be a list of one or more finite numbers, "
            f"{'above 0' if positive else '0 or more'}. Received: {name}={values!r}"
        )
    return checked
