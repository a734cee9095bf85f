"""Many detectors over many data sets, in one pass over the pixels."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.data.observed_range import ObservedRange, warn_of_small_values
from keras_lodin.data.passes import Batch, BatchFunction, joined, naming
from keras_lodin.data.reading_ahead import Batches, read_ahead
from keras_lodin.data.source import Source, check_batch_size
from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.shared_passes import shared_passes
from keras_lodin.evaluation.accuracy import Accuracy, joint_accuracy
from keras_lodin.evaluation.data_sets import DataSets, data_sets
from keras_lodin.evaluation.document import Extremes
from keras_lodin.evaluation.extreme_examples import ExtremeExamples
from keras_lodin.evaluation.results import Evaluation, id_data_facts
from keras_lodin.evaluation.scored_sets import ScoredSet, ScoredSets
from keras_lodin.metrics.bootstrap import bootstrap_intervals
from keras_lodin.metrics.registry import FIGURES
from keras_lodin.metrics.scores import check_scores
from keras_lodin.utils.numbers import check_seed, check_whole
from keras_lodin.utils.progress import track
from keras_lodin.utils.tensor import Tensor
from keras_lodin.utils.versions import package_versions

_FULL_SPECTRUM = (
    "ID are the data without a shift and the covariate-shifted data together, every sample "
    "counted once, as in OpenOOD v1.5; otherwise ID are those without a shift alone. The ID "
    "accuracy is that on the same data."
)


def evaluate(
    detectors: Mapping[str, Detector],
    id_data: object,
    ood_data: Mapping[str, object],
    *,
    shifted: Mapping[str, object] | None = None,
    batch_size: int = 128,
    model: str | Mapping[str, str] | None = None,
    id_name: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    command: str | None = None,
    verbose: int | str = "auto",
    scored: ScoredSets | None = None,
) -> Evaluation:
    """Measures how well detectors tell in-distribution (ID) from out-of-distribution (OOD) data.

    Every image is read once and every classifier runs forward once per batch, whatever the number
    of detectors that watch it; a detector adds only what it needs beyond that. Nothing but the
    scores stays in memory. The accuracy on ID data is measured in the same pass, on the same
    pixels: if it is not the accuracy you know, the preprocessing differs, and no other figure is
    worth reading.

    Beside an ODIN whose temperature and epsilon were chosen by `tune`, and are others than ODIN's
    defaults, stands the same with the defaults, as "NAME (defaults)": whether tuning was worth it
    shows on data that tuning did not see. It costs what the tuned one does.

    Args:
        detectors: name -> `Detector`. They may wrap different classifiers. Their thresholds play
            no part.
        id_data: in-distribution test data: an array, a tuple `(x, y)`, a batched
            `tf.data.Dataset`, a `keras.utils.PyDataset` or a `keras_lodin.data.Source`. The
            accuracy needs its labels; without them it is None. Where both the data and a
            detector have class names (a `Source`, or what
            `keras.utils.image_dataset_from_directory` returns), labels are matched by them.
        ood_data: name -> out-of-distribution test data, in the same forms. Labels are not used.
            Or groups of them, group -> (name -> data), as in `{"near": {...}, "far": {...}}`: the
            results then have the mean of each group beside the mean of all. No name may be in two
            groups.
        shifted: name -> covariate-shifted data of the classes that the classifier knows (other
            cameras, weather, drawings), in the same forms. They count as in-distribution: every
            figure is there twice, against `id_data` alone and against `id_data` and all of
            `shifted` together, which is called full-spectrum. With labels, the accuracy on each is
            measured too.
        batch_size: samples per batch, for data that is not batched already.
        model: name of the classifier in the results, or of each detector's classifier by the
            detector's name; by default its Keras name. Where several classifiers would get the
            same name, the later ones get "_1", "_2", ... after it.
        id_name: name of the ID data in the results; by default a source's own, otherwise "id".
        resamples: number of bootstrap resamples behind each interval.
        seed: seed of the bootstrap.
        command: the command line to record in the results, if there is one.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.
        scored: where the scores of each data set are kept as soon as it is through, and taken from
            where they are kept; None for nowhere. It must be of the same detectors and data.

    Returns:
        an `Evaluation`.

    Raises:
        ValueError: for no detectors or OOD sets, names used twice, empty data, inputs that a
            detector refuses (shape, NaN, outside `input_range`), labels or class names that the
            classifier does not have, or scores that are not finite. It names the data set.

    Example:
    ```python
    evaluation = keras_lodin.evaluate(
        {"odin": odin, "msp": msp}, (x_test, y_test), {"svhn": x_svhn, "dtd": x_dtd}
    )
    print(evaluation.table())
    evaluation.save("results")
    ```
    """
    if id_name is None:
        id_name = id_data.name if isinstance(id_data, Source) else "id"
    shifted = {} if shifted is None else shifted
    _check_arguments(detectors, ood_data, shifted, resamples, seed)
    sets = data_sets(id_name, id_data, ood_data, shifted, _input_names(detectors))
    check_batch_size(batch_size)
    detectors = _beside_defaults(detectors)
    models = _model_names(detectors, model)
    # Of the detectors of a model one that knows the range of its inputs, if one does: the last.
    by_knowledge = sorted(detectors, key=lambda name: detectors[name].judged_input_range.known)
    by_model = {models[name]: detectors[name] for name in by_knowledge}
    panel = BatchFunction(lambda inputs: _score_batch(detectors, models, inputs))
    scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in detectors}
    extremes: Extremes = {name: {} for name in detectors}
    skipped: dict[str, list[tuple[str, str]]] = {}
    counts: dict[str, dict[str, Accuracy]] = {}
    observed = {
        name: ObservedRange(detector.input_shape_with_batch[1:])
        for name, detector in by_model.items()
    }

    def check(inputs: Tensor) -> None:
        for detector in detectors.values():
            detector.check_inputs(inputs)

    def scored_set(
        name: str,
        counted: Mapping[str, Accuracy],
        seen: Mapping[str, ObservedRange],
        batches: Batches,
    ) -> ScoredSet:
        data = sets.by_name[name]
        passed = panel.over(
            data, f"Scoring {name}", batch_size, verbose, check=check, batches=batches
        )
        lowest = name in sets.in_distribution
        found = {detector: ExtremeExamples(lowest=lowest) for detector in detectors}
        # Closed at once when scores are refused, so that the bar is gone before the error.
        with contextlib.closing(passed), naming(repr(name)):
            set_scores = _score_data(passed, counted, found, seen)
        return ScoredSet(
            scores=set_scores,
            examples={detector: kept.examples for detector, kept in found.items()},
            labels={model: (count.correct, count.count) for model, count in counted.items()},
            observed={model: (ends.low, ends.high) for model, ends in seen.items()},
            skipped=data.skipped if isinstance(data, Source) else [],
        )

    earlier = {name: None if scored is None else scored.kept(name) for name in sets.by_name}
    waiting = [data for name, data in sets.by_name.items() if earlier[name] is None]
    with contextlib.closing(read_ahead(waiting, batch_size)) as reading:
        for name, data in sets.by_name.items():
            known = name in sets.in_distribution
            counted = _accuracies(detectors, models, data) if known else {}
            seen = observed if name == id_name else {}
            one = earlier[name]
            if one is None:
                one = scored_set(name, counted, seen, next(reading))
                if scored is not None:
                    scored.keep(name, one)
            else:
                for model_name, count in counted.items():
                    count.correct, count.count = one.labels[model_name]
                for model_name, ends in seen.items():
                    ends.low, ends.high = one.observed[model_name]
            if known:
                counts[name] = counted
            for detector, values in one.scores.items():
                scores[detector][name] = values
                extremes[detector][name] = one.examples[detector]
            if one.skipped:
                skipped[name] = one.skipped
    for name, detector in by_model.items():
        warn_of_small_values(observed[name], detector.judged_input_range)
        counts[id_name][name].warn_of_chance(detector.judged_input_range, repr(name))
    accuracies = {
        spectrum: {one: joint_accuracy(counts[name][one] for name in names) for one in by_model}
        for spectrum, names in sets.spectra.items()
    }
    of_rows = [
        (detector, spectrum, ood)
        for detector in detectors
        for spectrum in sets.spectra
        for ood in sets.groups
    ]
    rows = [
        {
            "model": models[detector],
            "detector": detector,
            "ood": ood,
            "group": sets.groups[ood],
            "full_spectrum": spectrum,
            "count": len(scores[detector][ood]),
            "passes": detectors[detector].cost_in_passes,
            **_figures(
                np.concatenate([scores[detector][name] for name in sets.spectra[spectrum]]),
                scores[detector][ood],
                resamples,
                seed,
            ),
            "id_accuracy": accuracies[spectrum][models[detector]],
        }
        for detector, spectrum, ood in track(
            of_rows, "Computing intervals", verbose, total=len(of_rows)
        )
    ]
    facts = [
        id_data_facts(
            name,
            len(next(iter(scores.values()))[name]),
            {one: counted.value for one, counted in counts[name].items()},
        )
        for name in sets.in_distribution
    ]
    return Evaluation(
        id=facts[0],
        shifted=facts[1:],
        rows=rows,
        scores=scores,
        definitions=_definitions(resamples, sets),
        versions=package_versions(),
        skipped=skipped,
        seed=seed,
        command=command,
        thresholds={
            name: {
                "threshold": detector.threshold,
                "tpr": detector.tpr,
                "confidence": detector.confidence,
            }
            for name, detector in detectors.items()
            # An infinite one calls everything or nothing OOD, and JSON has no such number.
            if np.isfinite(detector.threshold)
        },
        extremes=extremes,
        inputs={
            name: {
                "input_range": detector.judged_input_range.to_json(),
                "input_range_origin": detector.input_range_origin,
            }
            for name, detector in by_model.items()
        },
    )


def _beside_defaults(detectors: Mapping[str, Detector]) -> dict[str, Detector]:
    """The detectors, each tuned ODIN followed by one with ODIN's defaults."""
    shown: dict[str, Detector] = {}
    for name, detector in detectors.items():
        shown[name] = detector
        defaults = detector.with_defaults() if detector.tuned else None
        beside = f"{name} (defaults)"
        if defaults is not None and beside not in detectors:
            shown[beside] = defaults
    return shown


def _score_batch(
    detectors: Mapping[str, Detector], models: Mapping[str, str], inputs: Tensor
) -> dict[str, dict[str, Any]]:
    """Each detector's scores and each model's predictions, with one pass per classifier."""
    passes = shared_passes(list(detectors.values()), inputs)
    predictions, scores = {}, {}
    for (name, detector), forward_pass in zip(detectors.items(), passes, strict=True):
        predictions[models[name]] = ops.argmax(forward_pass.logits, axis=-1)
        scores[name] = detector.score(forward_pass)
    return {"predictions": predictions, "scores": scores}


def _accuracies(
    detectors: Mapping[str, Detector], models: Mapping[str, str], data: object
) -> dict[str, Accuracy]:
    """The count of each model's correct predictions, by the class names of any of its detectors."""
    known = {models[name]: detector for name, detector in detectors.items()}
    known |= {models[name]: one for name, one in detectors.items() if one.class_names is not None}
    return {
        model: Accuracy(LabelPlaces(detector.num_classes, detector.class_names, data))
        for model, detector in known.items()
    }


def _score_data(
    batches: Iterable[Batch],
    accuracies: Mapping[str, Accuracy],
    extremes: Mapping[str, ExtremeExamples],
    observed: Mapping[str, ObservedRange],
) -> dict[str, np.ndarray]:
    """Scores of each detector.

    `accuracies` and `observed`, by model, and `extremes`, by detector, learn of every batch.
    """
    scores = []
    for inputs, labels, outputs, first in batches:
        for name, values in outputs["scores"].items():
            check_scores(name, values, first)
            extremes[name].update(values, inputs)
        scores.append(outputs["scores"])
        for model, counted in accuracies.items():
            counted.update(outputs["predictions"][model], labels)
        for values_seen in observed.values():
            values_seen.update(inputs)
    return joined(scores)


def _figures(
    id_scores: np.ndarray, ood_scores: np.ndarray, resamples: int, seed: int
) -> dict[str, Any]:
    values = {}
    for name, one in FIGURES.items():
        try:
            value = float(one.function(id_scores, ood_scores))
            if not np.isfinite(value):
                raise ValueError(f"A figure must be a finite number. Received: {value}")
        except Exception as error:  # it may be somebody else's code, and all else is computed
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"The figure {name!r} is left out: {reason}", UserWarning, stacklevel=3)
        else:
            values[name] = value
    intervals = bootstrap_intervals(id_scores, ood_scores, resamples, seed)
    return values | {f"{name}_interval": list(bounds) for name, bounds in intervals.items()}


def _input_names(detectors: Mapping[str, Detector]) -> set[str]:
    """What the classifiers call their inputs; a subclassed one has no names for them."""
    return {
        tensor.name
        for detector in detectors.values()
        for tensor in getattr(detector.classifier, "inputs", None) or ()
    }


def _check_arguments(
    detectors: Any, ood_data: Any, shifted: Any, resamples: int, seed: int
) -> None:
    """Refuses what would otherwise fail after the long pass over the data, or never."""
    for argument, value in {
        "detectors": detectors,
        "ood_data": ood_data,
        "shifted": shifted,
    }.items():
        if not isinstance(value, Mapping):
            raise ValueError(
                f"`{argument}` must be a dict, from a name of your choice to each of them. "
                f"Received: {argument} of type {type(value).__name__}"
            )
    for name, detector in detectors.items():
        if not isinstance(detector, Detector):
            raise ValueError(
                "`detectors` must map names to keras_lodin detectors; wrap a classifier first, as "
                f"in `MSPDetector(classifier)`. Received: {name!r}: {type(detector).__name__}"
            )
    if not detectors or not ood_data:
        raise ValueError(
            "At least one detector and one out-of-distribution data set are needed. "
            f"Received: detectors {list(detectors)}, data sets {list(ood_data)}"
        )
    check_resamples(resamples)
    check_seed(seed)


def check_resamples(resamples: int) -> None:
    """Raises ValueError unless it is a number of bootstrap resamples."""
    check_whole("resamples", resamples, "at least 1", most=1_000_000)


def _model_names(
    detectors: Mapping[str, Detector], model: str | Mapping[str, str] | None
) -> dict[str, str]:
    """Detector name -> name of its classifier, one name per classifier."""
    names: dict[int, str] = {}
    for detector_name, detector in detectors.items():
        classifier = detector.classifier
        if id(classifier) not in names:
            given = model.get(detector_name) if isinstance(model, Mapping) else model
            base = name = given or classifier.name
            number = 0
            while name in names.values():
                number += 1
                name = f"{base}_{number}"
            names[id(classifier)] = name
    return {name: names[id(detector.classifier)] for name, detector in detectors.items()}


def _definitions(resamples: int, sets: DataSets) -> dict[str, str]:
    figures: dict[str, str] = {}
    for name, one in FIGURES.items():
        if one.positive is not None:
            figures[f"{name}_positive"] = one.positive
        figures[name] = one.definition
    return {
        "score": "Higher = more in-distribution (ID); an input is called out-of-distribution "
        "(OOD) when score <= threshold.",
        **figures,
        "id_accuracy": "Fraction of the ID data classified correctly, measured in the same pass "
        "and on the same pixels as the scores.",
        "passes": "Forward passes of the classifier that a score costs where its detector is used "
        "alone, a backward pass to the input counted as one. In this evaluation the detectors of a "
        "classifier share its first pass, so that no one of them has a time of its own.",
        "intervals": f"95 % percentile bootstrap, {resamples} resamples of ID and of OOD test "
        "samples; the variation between training runs is not in them.",
        "means": "Plain means over the OOD sets"
        + (" of each group, and over all." if any(sets.groups.values()) else "."),
        **({"full_spectrum": _FULL_SPECTRUM} if sets.shifted else {}),
    }
