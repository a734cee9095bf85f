"""Which detector to take for a classifier, from in-distribution data alone.

No detector is the best everywhere, and which one is best here shows only on out-of-distribution
data. Where there are none, two things stand in: copies of the data that no longer show what the
classes look like (`keras_lodin.data.contrasts`), and classes that are left out of the statistics
and of the last layer, as if the network had never had them. Neither is the real thing, so the rule
leans on MSP: another detector has to be better beyond doubt.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from scipy.stats import t as student

from keras_lodin.data.batches import iterate_batches
from keras_lodin.data.contrasts import CONTRASTS
from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.data.passes import BatchFunction, joined
from keras_lodin.detectors import DETECTORS
from keras_lodin.detectors.adaptive_detector import AdaptiveDetector
from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.registry import ALL, build_all
from keras_lodin.detectors.shared_passes import shared_passes
from keras_lodin.detectors.statistics_detector import adapt_where_possible
from keras_lodin.detectors.tunable_detector import TunableDetector, tune_together
from keras_lodin.detectors.tuning_margin import (
    Placements,
    auroc_margin,
    mean_placements,
    placements,
)
from keras_lodin.evaluation.choice import BASELINE, Choice, Judged
from keras_lodin.metrics.figures import auroc
from keras_lodin.metrics.scores import check_scores
from keras_lodin.models.input_range import GivenRange
from keras_lodin.models.linear_head import LinearHead
from keras_lodin.models.stored_features import Features, compute_features, of_some_classes
from keras_lodin.utils.numbers import check_seed
from keras_lodin.utils.progress import track
from keras_lodin.utils.tensor import Tensor

# Of in-distribution data no more is kept in memory than the first of these: more narrows intervals
# that leave out what made-up data are not.
_MOST_SAMPLES = 4000
_MOST_BYTES = 2**29
_GROUPS = 5
_FEWEST = 40


class _Samples(NamedTuple):
    """Inputs and, if there are some, labels by the classifier's classes."""

    inputs: np.ndarray
    labels: np.ndarray | None


def choose(
    classifier: keras.Model,
    id_data: object,
    train_data: object = None,
    ood_data: object = None,
    *,
    detectors: Sequence[str] | None = None,
    input_range: GivenRange | None = None,
    class_names: Sequence[str] | None = None,
    batch_size: int = 128,
    seed: int = 0,
    verbose: int | str = "auto",
) -> Choice:
    """Tries every detector on a classifier and recommends one.

    Half of `id_data` tunes those that have settings; on the other half all are judged by how well
    they tell it from made-up contrasts (or from `ood_data`). With labels in both `id_data` and
    `train_data`, those that read the last layer alone are judged on classes left out, too: a fifth
    of the classes at a time, without which their statistics are taken and their logits computed.
    The rule is in `Choice`; what it is worth on real out-of-distribution data was measured, see
    the documentation's page on detectors.

    Args:
        classifier: see `Detector`; a network with several exits is judged at its last one, beside
            MOOD.
        id_data: in-distribution data that were not trained on and will not be tested on, in any
            form that `evaluate` takes; 4,000 of them are used, drawn at random,
            or fewer where images are large.
        train_data: training data for detectors with statistics; None leaves those out.
        ood_data: None, or a validation set of out-of-distribution data, which then decides. Never
            give the set that you will report on.
        detectors: names of those to try, MSP is always among them; None for all.
        input_range: range of the classifier's inputs, see `Detector`.
        class_names: names of its classes, see `Detector`.
        batch_size: samples per batch, for data that is not batched already.
        seed: of what is drawn, and of which classes are left out together.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

    Returns:
        a `Choice`. Its `detector` is tuned and has its statistics; calibrate it.

    Raises:
        ValueError: for fewer than 40 samples, and as `Detector.tune` and `adapt` do.

    Example:
    ```python
    choice = keras_lodin.choose(classifier, (x_val, y_val), (x_train, y_train))
    print(choice.reason)
    detector = choice.detector
    detector.calibrate(x_calibration)
    ```
    """
    check_seed(seed)
    wrapped, left_out = _wrapped(classifier, detectors, input_range, class_names)
    first = wrapped[BASELINE]
    place = LabelPlaces(first.num_classes, first.class_names, id_data)
    samples = _collected(id_data, batch_size, place, seed)
    halves = [
        _Samples(samples.inputs[k::2], None if samples.labels is None else samples.labels[k::2])
        for k in (0, 1)
    ]
    waiting = [one for one in wrapped.values() if isinstance(one, AdaptiveDetector)]
    if train_data is None:
        for name in [name for name, one in wrapped.items() if one in waiting]:
            left_out[name] = "it needs training data to take statistics of"
            del wrapped[name]
    else:
        refused = adapt_where_possible(wrapped, train_data, batch_size, verbose)
        for name, error in refused.items():
            left_out[name] = str(error)
            del wrapped[name]
    for detector in wrapped.values():
        detector.settle_input_range(samples.inputs, batch_size)
    _tune(list(wrapped.values()), halves[0].inputs, ood_data, batch_size, verbose)
    placed = _placed(wrapped, halves[1].inputs, ood_data, batch_size, verbose)
    # Out-of-distribution data decide alone: nothing made up is as good.
    known = None if ood_data is not None else train_data
    held_out = _held_out(wrapped, halves[1], known, batch_size, seed, verbose)
    whole = {name: mean_placements(list(found.values())) for name, found in placed.items()}
    evidence = _Evidence(whole, held_out, paired=ood_data is None)
    judged = [_judged(name, one, placed[name], evidence) for name, one in wrapped.items()]
    judged.sort(key=lambda one: -one.margin)
    recommended, reason = _recommended(judged, evidence)
    return Choice(
        recommended,
        reason,
        tuple(judged),
        left_out,
        len(halves[1].inputs),
        ood_data is not None,
        wrapped,
    )


def _wrapped(
    classifier: keras.Model,
    names: Sequence[str] | None,
    input_range: GivenRange | None,
    class_names: Sequence[str] | None,
) -> tuple[dict[str, Detector], dict[str, str]]:
    """The detectors that can wrap the classifier, MSP first, and why others cannot."""
    if names is not None:
        listed = list(dict.fromkeys([BASELINE, *names]))
        options = {"class_names": class_names}
        return build_all(listed, classifier, input_range, **options), {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        wrapped = build_all([ALL], classifier, input_range, class_names=class_names)
    refused = {name: "it cannot wrap this classifier" for name in DETECTORS if name not in wrapped}
    for warning in caught:
        for name in refused:
            if f"{name!r} is left out: " in str(warning.message):
                refused[name] = str(warning.message).split("is left out: ", 1)[1]
    return wrapped, refused


def _collected(data: object, batch_size: int, place: LabelPlaces, seed: int) -> _Samples:
    """Samples drawn from all of the data, in their order, as many as are kept."""
    rng = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    known: list[np.ndarray] = []
    keys: list[np.ndarray] = []
    count = 0
    for batch, labels in iterate_batches(data, batch_size):
        values = np.asarray(ops.convert_to_numpy(batch))
        found.append(values)
        keys.append(rng.random(len(values)))
        if labels is not None:
            known.append(place(labels))
        count += len(values)
        most = max(_FEWEST, min(_MOST_SAMPLES, _MOST_BYTES // max(values[0].nbytes, 1)))
        if sum(map(len, keys)) > 2 * most:
            _thin(most, keys, found, known)
    if count < _FEWEST:
        raise ValueError(
            f"To choose a detector takes {_FEWEST} in-distribution samples or more, better some "
            f"hundreds. Received: {count} samples"
        )
    _thin(most, keys, found, known)
    return _Samples(found[0], known[0] if known else None)


def _thin(most: int, keys: list[np.ndarray], *others: list[np.ndarray]) -> None:
    """Keeps the samples with the smallest keys, in their order."""
    order = np.argsort(np.concatenate(keys))
    kept = np.sort(order[:most])
    for parts in (keys, *others):
        if parts:
            parts[:] = [np.concatenate(parts)[kept]]


def _tune(
    detectors: Sequence[Detector],
    inputs: np.ndarray,
    ood_data: object,
    batch_size: int,
    verbose: int | str,
) -> None:
    """Chooses the settings of those that have some, in as few passes as can be."""
    together = [one for one in detectors if isinstance(one, TunableDetector) and one.tunable]
    if together:
        tune_together(together, inputs, ood_data, None, batch_size, verbose)
    for detector in detectors:
        if detector.tunable and detector not in together:
            with warnings.catch_warnings():
                # Doubts about one detector's settings are no matter for who asks which to take.
                warnings.simplefilter("ignore", UserWarning)
                detector.tune(inputs, ood_data, batch_size=batch_size, verbose=verbose)


def _placed(
    wrapped: Mapping[str, Detector],
    inputs: np.ndarray,
    ood_data: object,
    batch_size: int,
    verbose: int | str,
) -> dict[str, dict[str, Placements]]:
    """Where the scores of each detector stand against each contrast, in one pass over each."""

    def score(batch: Tensor) -> dict[str, Tensor]:
        passes = shared_passes(list(wrapped.values()), batch)
        return {
            name: detector.score(one)
            for (name, detector), one in zip(wrapped.items(), passes, strict=True)
        }

    run = BatchFunction(score)

    def scored(data: object, task: str) -> dict[str, np.ndarray]:
        return joined(one.outputs for one in run.over(data, task, batch_size, verbose))

    own = scored(inputs, "Scoring in-distribution data")
    others = {}
    if ood_data is not None:
        others["ood_data"] = scored(ood_data, "Scoring out-of-distribution data")
    else:
        for name, contrast in CONTRASTS.items():
            others[name] = scored(contrast(inputs), f"Scoring the contrast {name}")
    for name, values in own.items():
        for found in (values, *(other[name] for other in others.values())):
            check_scores(name, found)
    return {
        name: {kind: placements(values, other[name]) for kind, other in others.items()}
        for name, values in own.items()
    }


class _Evidence(NamedTuple):
    """What detectors are compared by: placements against contrasts, and classes left out."""

    placed: Mapping[str, Placements]
    held_out: Mapping[str, np.ndarray]
    paired: bool

    def gains(self, name: str, other: str) -> list[tuple[float, float]]:
        """By how much a detector is better than another, of each kind, and half the interval."""
        margin, (low, high) = auroc_margin(
            self.placed[name], self.placed[other], paired=self.paired
        )
        found = [(margin, (high - low) / 2)]
        if name in self.held_out and other in self.held_out:
            differences = self.held_out[name] - self.held_out[other]
            error = np.std(differences, ddof=1) / len(differences) ** 0.5
            quantile = float(student.ppf(0.975, len(differences) - 1))
            found.append((float(differences.mean()), quantile * float(error)))
        return found

    def gain(self, name: str, other: str) -> tuple[float, tuple[float, float]]:
        """The mean over both kinds, which count the same, and its 95 % interval."""
        found = self.gains(name, other)
        margin = float(np.mean([gain for gain, _ in found]))
        half = float(np.sqrt(sum(half**2 for _, half in found))) / len(found)
        return margin, (margin - half, margin + half)


def _judged(
    name: str, detector: Detector, placed: Mapping[str, Placements], evidence: _Evidence
) -> Judged:
    margin, interval = evidence.gain(name, BASELINE)
    groups = evidence.held_out.get(name)
    return Judged(
        name,
        detector.settings,
        {kind: found.auroc for kind, found in placed.items()},
        None if groups is None else float(groups.mean()),
        margin,
        interval,
        any(gain + half < 0.0 for gain, half in evidence.gains(name, BASELINE)),
        detector.cost_in_passes,
        detector.statistics_bytes,
    )


def _recommended(judged: Sequence[Judged], evidence: _Evidence) -> tuple[str, str]:
    better = [one for one in judged if one.better]
    if not better:
        return BASELINE, (
            "No detector is better than MSP beyond doubt: there is no difference that can be seen. "
            "Take MSP."
        )
    best = better[0]
    equal = [
        one for one in better if one is best or evidence.gain(best.name, one.name)[1][0] <= 0.0
    ]
    # The first of those that cost the same, in whole megabytes, is the best of them.
    choice = min(equal, key=lambda one: (one.passes, one.bytes // 2**20))
    low, high = (100 * end for end in choice.interval)
    reason = (
        f"Take {choice.name}: its AUROC is {100 * choice.margin:.1f} points above that of MSP "
        f"(95 % interval {low:.1f} to {high:.1f})."
    )
    if choice is not best:
        reason += f" {best.name} is no better that can be told, and costs more."
    return choice.name, reason


# --- Classes left out ------------------------------------------------------------------------


def _held_out(
    wrapped: Mapping[str, Detector],
    samples: _Samples,
    train_data: object,
    batch_size: int,
    seed: int,
    verbose: int | str,
) -> dict[str, np.ndarray]:
    """AUROC of known against left-out classes for each group of them, by detector."""
    readers = {name: one for name, one in wrapped.items() if _reads_last_layer(one)}
    first = wrapped[BASELINE]
    if train_data is None or samples.labels is None or first.num_classes < 4:
        return {}
    try:
        head = LinearHead(first.classifier, first.from_logits)
        options: dict[str, Any] = {"batch_size": batch_size, "verbose": verbose}
        train = compute_features(
            first.classifier,
            train_data,
            from_logits=first.from_logits,
            most=_MOST_BYTES // (4 * head.size),
            **options,
        )
        own = compute_features(
            first.classifier,
            (samples.inputs, samples.labels),
            from_logits=first.from_logits,
            **options,
        )
    except ValueError:  # a classifier without a last linear layer
        return {}
    if "labels" not in train:
        return {}
    train["labels"] = LabelPlaces(first.num_classes, first.class_names, train_data)(train["labels"])
    present = np.unique(own["labels"])
    groups = np.array_split(np.random.default_rng(seed).permutation(present), _GROUPS)
    found: dict[str, list[float]] = {name: [] for name in readers}
    for group in track(groups, "Leaving classes out", verbose, total=len(groups)):
        if len(group) and len(present) - len(group) >= 2:
            scores = _without(group, readers, head, train, own)
            for name, value in scores.items():
                found[name].append(value)
    fewest = max((len(values) for values in found.values()), default=0)
    # A detector that one group is no data for has no mean over all.
    return {n: np.array(v) for n, v in found.items() if len(v) == fewest and len(v) > 1}


def _reads_last_layer(detector: Detector) -> bool:
    layers = detector.feature_layers
    plain = layers is None or layers.names is None
    return plain and detector.cost_in_passes == 1.0 and not detector.takes_exits


def _without(
    group: np.ndarray,
    readers: Mapping[str, Detector],
    head: LinearHead,
    train: Features,
    own: Features,
) -> dict[str, float]:
    """AUROC of each detector with some classes left out of the last layer and the statistics."""
    kept = np.setdiff1d(np.arange(head.num_classes), group)
    place = np.full(head.num_classes, -1)
    place[kept] = np.arange(len(kept))
    classifier = of_some_classes(head, kept)
    known = np.isin(train["labels"], kept)
    values, labels = train["features"][known], place[train["labels"][known]]
    inside = np.isin(own["labels"], kept)
    twins: dict[str, Detector] = {}
    for name, detector in readers.items():
        config = detector.config_without_classifier()
        for setting in ("class_names", "input_range", "input_range_origin", "from_logits", "name"):
            config.pop(setting, None)
        # One that steps on inputs refuses features, whatever `tune` made of the step.
        with contextlib.suppress(ValueError):
            twins[name] = type(detector)(classifier=classifier, **config)
    for name in adapt_where_possible(twins, (values, labels), 1024, 0):
        del twins[name]
    sides = [own["features"][rows] for rows in (inside, ~inside)]
    return {name: auroc(*(_scores(twin, side) for side in sides)) for name, twin in twins.items()}


def _scores(detector: Detector, features: np.ndarray) -> np.ndarray:
    """Scores of features, without a graph, which takes longer to make than one layer to run."""
    parts = np.array_split(features, max(1, len(features) // 1024))
    return np.concatenate([ops.convert_to_numpy(detector(part)["score"]) for part in parts])
