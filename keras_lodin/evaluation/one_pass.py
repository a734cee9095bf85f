"""Many detectors over many data sets, in one pass over the pixels."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import ops

from keras_lodin import metrics
from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.data.observed_range import ObservedRange, warn_of_small_values
from keras_lodin.data.passes import Batch, BatchFunction, joined, naming
from keras_lodin.data.source import Source, check_batch_size
from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.odin import ODINDetector
from keras_lodin.evaluation.accuracy import Accuracy
from keras_lodin.evaluation.extreme_examples import ExtremeExamples
from keras_lodin.evaluation.files import (
    file_digests,
    outdated_plots,
    write_csv,
    write_file,
    write_json,
    write_scores,
)
from keras_lodin.evaluation.table import ResultsTable
from keras_lodin.metrics.scores import check_scores
from keras_lodin.utils.files import write_together
from keras_lodin.utils.numbers import check_seed, check_whole
from keras_lodin.utils.progress import track

FIGURES = ("auroc", "fpr95", "aupr_in", "aupr_out", "detection_error")


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured, with everything needed to read it later.

    All figures are fractions between 0 and 1, never percentages.

    Attributes:
        id: the in-distribution (ID) data: `"name"`, `"count"`, `"accuracy"` (None without labels,
            and None when there are several models) and `"accuracy_by_model"`.
        rows: one dict per detector and out-of-distribution (OOD) set: `"model"`, `"detector"`,
            `"ood"`, `"count"`, the figures `"auroc"`, `"fpr95"`, `"aupr_in"`, `"aupr_out"` and
            `"detection_error"`, the intervals `"auroc_interval"` and `"fpr95_interval"` as
            `[low, high]`, and the model's `"id_accuracy"`.
        scores: `scores[detector][data set]`, float32 arrays of shape `(count,)`, HIGHER = MORE
            IN-DISTRIBUTION, ID data included. After `merge` the outer key is "model/detector".
        definitions: what each figure means, in a sentence each.
        versions: of the packages that were used.
        skipped: data set -> list of `(path, reason)`, the files that could not be read. They are
            in no figure.
        seed: seed of the bootstrap.
        command: the command line behind it, or None.
        thresholds: detector -> `"threshold"` and the `"tpr"` it was calibrated for, None if set by
            hand; of those that have one. They play no part in the figures.
        extremes: detector -> data set -> its few images with the lowest scores (ID) or the highest
            (OOD), as `(score, number in the data set, uint8 pixels)`. Nothing of other inputs.
        inputs: model -> `"input_range"` and `"input_range_origin"`, how it is known: "given",
            "classifier" (shown by its first layers), "data", "assumed" or "unknown".
    """

    id: dict[str, Any]
    rows: list[dict[str, Any]]
    scores: dict[str, dict[str, np.ndarray]]
    definitions: dict[str, str]
    versions: dict[str, str | None]
    skipped: dict[str, list[tuple[str, str]]]
    seed: int
    command: str | None = None
    thresholds: dict[str, dict[str, float | None]] = field(default_factory=dict)
    extremes: dict[str, dict[str, list[tuple[float, int, np.ndarray]]]] = field(
        default_factory=dict, repr=False
    )
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def means(self) -> list[dict[str, Any]]:
        """Plain means over the OOD sets, one dict per model and detector; none for one set."""
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault((row["model"], row["detector"]), []).append(row)
        return [
            {
                "model": model,
                "detector": detector,
                "ood_sets": len(rows),
                **{figure: float(np.mean([row[figure] for row in rows])) for figure in FIGURES},
            }
            for (model, detector), rows in groups.items()
            if len(rows) > 1
        ]

    @property
    def flagged(self) -> dict[str, dict[str, float]]:
        """Detector -> data set -> the share of it that the detector's own threshold calls
        out-of-distribution, from 0 to 1; of the detectors that have one.
        """
        return {
            detector: {
                name: float(np.mean(scores <= np.float32(given["threshold"])))
                for name, scores in self.scores[detector].items()
            }
            for detector, given in self.thresholds.items()
        }

    def table(self) -> ResultsTable:
        """The results as a table: print it, or hand it to rich's `Console.print`.

        Returns:
            a rich renderable. Its `str` is plain text, a Markdown table.
        """
        return ResultsTable(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the raw scores and the pictures, as JSON has it.

        Returns:
            `id`, `inputs`, `results` (the rows), `means`, `thresholds`, `flagged`, `definitions`,
            `versions`, `skipped`, `seed` and `command`.
        """
        return {
            "id": self.id,
            "inputs": self.inputs,
            "results": self.rows,
            "means": self.means,
            "thresholds": self.thresholds,
            "flagged": self.flagged,
            "definitions": self.definitions,
            "versions": self.versions,
            "skipped": self.skipped,
            "seed": self.seed,
            "command": self.command,
        }

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes everything but the raw scores as strict JSON (no NaN).

        Args:
            path: the file to write or replace.

        Raises:
            OSError: if it cannot be written. Nothing half-written stays.
        """
        write_json(self.to_dict(), path)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows as CSV; an interval becomes the two columns `_low` and `_high`.

        Args:
            path: the file to write or replace.

        Raises:
            OSError: if it cannot be written. Nothing half-written stays.
        """
        write_csv(self, path)

    def to_plots(self, folder: str | os.PathLike[str]) -> None:
        """Draws two PNG files per OOD set: score histograms, and ROC curves of all detectors.

        Args:
            folder: where to put them; made if missing, other files in it are left alone.

        Raises:
            OSError: if a file cannot be written. Nothing half-written stays.
        """
        # matplotlib costs half a second of import, which only plots should pay.
        from keras_lodin.evaluation.plots import draw_plots, write_plots

        write_plots(draw_plots(self), folder)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes everything as one page, to be read with nothing but a browser.

        Args:
            path: the file to write or replace.

        Raises:
            OSError: if it cannot be written. Nothing half-written stays.
        """
        from keras_lodin.evaluation.page import evaluation_page
        from keras_lodin.evaluation.plots import draw_plots

        write_file(path, evaluation_page(self, draw_plots(self)).encode())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `report.html`, `results.json`, `results.csv`, `scores.npz` and `plots/`.

        `scores.npz` holds one array per detector and data set, named "detector/data set", where a
        slash in a detector's own name is written `%2F`.

        All files are written before the first of an earlier evaluation is replaced. `results.json`
        comes last, and holds under `files` the SHA-256 digests of the others: a reader can tell
        that they belong together.

        Args:
            folder: where to put them; made if missing, other files in it are left alone. Plots of
                the evaluation before, of data that is not in this one, are removed.

        Raises:
            OSError: if a file cannot be written. What was there before is then still there.
        """
        from keras_lodin.evaluation.page import evaluation_page
        from keras_lodin.evaluation.plots import draw_plots, plot_names, write_plots

        plots = draw_plots(self)
        outdated = outdated_plots(folder, [f"plots/{name}" for name in plot_names(plots)])
        with write_together(folder, "results.json", outdated) as written:
            self.to_csv(written / "results.csv")
            write_scores(self, written / "scores.npz")
            write_plots(plots, written / "plots")
            write_file(written / "report.html", evaluation_page(self, plots).encode())
            document = {**self.to_dict(), "files": file_digests(written)}
            write_json(document, written / "results.json")

    @staticmethod
    def merge(evaluations: Sequence[Evaluation]) -> Evaluation:
        """Joins evaluations of several models on the same data into one.

        Args:
            evaluations: one or more, of the same ID and OOD data, with different models.

        Returns:
            an `Evaluation` with the rows of all. With more than one model its `id["accuracy"]`
            is None, and `id["accuracy_by_model"]` has each model's.

        Raises:
            ValueError: if there are none, if data, seeds or definitions differ, or if two have
                the same model name and detector name.
        """
        if not evaluations:
            raise ValueError("`evaluations` must hold at least one. Received: an empty sequence")
        first, *others = evaluations
        if not others:
            return first
        for other in others:
            if _conditions(other) != _conditions(first):
                raise ValueError(
                    "Only evaluations on the same data, with the same seed and definitions, can "
                    f"be merged. Received: {_conditions(first)[:3]} and {_conditions(other)[:3]}"
                )
        rows = [row for evaluation in evaluations for row in evaluation.rows]
        keys = [(row["model"], row["detector"], row["ood"]) for row in rows]
        if len(set(keys)) < len(keys):
            raise ValueError(
                "Two evaluations have the same model and detector names. Tell them apart: "
                f"`evaluate(..., model=NAME)`. Received: models and detectors "
                f"{sorted({key[:2] for key in keys if keys.count(key) > 1})}"
            )
        accuracies: dict[str, float | None] = {}
        scores: dict[str, dict[str, np.ndarray]] = {}
        thresholds: dict[str, dict[str, float | None]] = {}
        extremes: dict[str, Any] = {}
        for evaluation in evaluations:
            accuracies |= evaluation.id["accuracy_by_model"]
            # Rows and scores hold their detectors in the same order.
            detectors = dict.fromkeys((row["model"], row["detector"]) for row in evaluation.rows)
            for (model, detector), values in zip(
                detectors, evaluation.scores.values(), strict=True
            ):
                name = f"{model}/{detector}"
                scores[name] = values
                extremes[name] = evaluation.extremes.get(detector, {})
                if detector in evaluation.thresholds:
                    thresholds[name] = evaluation.thresholds[detector]
        return Evaluation(
            id=_id_information(first.id["name"], first.id["count"], accuracies),
            rows=rows,
            scores=scores,
            definitions=first.definitions,
            versions=first.versions,
            skipped=first.skipped,
            seed=first.seed,
            command=first.command,
            thresholds=thresholds,
            extremes=extremes,
            inputs={name: given for one in evaluations for name, given in one.inputs.items()},
        )


def evaluate(
    detectors: Mapping[str, Detector],
    id_data: Any,
    ood_data: Mapping[str, Any],
    *,
    batch_size: int = 128,
    model: str | Mapping[str, str] | None = None,
    id_name: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    command: str | None = None,
    verbose: int | str = "auto",
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
        batch_size: samples per batch, for data that is not batched already.
        model: name of the classifier in the results, or of each detector's classifier by the
            detector's name; by default its Keras name. Where several classifiers would get the
            same name, the later ones get "_1", "_2", ... after it.
        id_name: name of the ID data in the results; by default a source's own, otherwise "id".
        resamples: number of bootstrap resamples behind each interval.
        seed: seed of the bootstrap.
        command: the command line to record in the results, if there is one.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

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
    _check_arguments(detectors, ood_data, id_name, resamples, seed)
    check_batch_size(batch_size)
    detectors = _beside_defaults(detectors)
    models = _model_names(detectors, model)
    # Of the detectors of a model one that knows the range of its inputs, if one does: the last.
    by_knowledge = sorted(detectors, key=lambda name: detectors[name].judged_input_range.known)
    by_model = {models[name]: detectors[name] for name in by_knowledge}
    panel = BatchFunction(lambda inputs: _score_batch(detectors, models, inputs))
    scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in detectors}
    extremes: dict[str, dict[str, Any]] = {name: {} for name in detectors}
    skipped: dict[str, list[tuple[str, str]]] = {}
    counts: dict[str, Accuracy] = {}
    observed = {
        name: ObservedRange(detector.input_shape_with_batch[1:])
        for name, detector in by_model.items()
    }

    def check(inputs: Any) -> None:
        for detector in detectors.values():
            detector.check_inputs(inputs)

    for name, data in {id_name: id_data, **ood_data}.items():
        passed = panel.over(data, f"Scoring {name}", batch_size, verbose, check=check)
        # Closed at once when scores are refused, so that the bar is gone before the error shows.
        with contextlib.closing(passed) as batches, naming(repr(name)):
            found = {one: ExtremeExamples(lowest=name == id_name) for one in detectors}
            if name == id_name:
                counts = _accuracies(detectors, models, data)
                set_scores = _score_data(batches, counts, found, observed)
            else:
                set_scores = _score_data(batches, {}, found, {})
        for detector, values in set_scores.items():
            scores[detector][name] = values
            extremes[detector][name] = found[detector].examples
        if isinstance(data, Source) and data.skipped:
            skipped[name] = data.skipped
    for name, detector in by_model.items():
        warn_of_small_values(observed[name], detector.judged_input_range)
        counts[name].warn_of_chance(detector.judged_input_range, repr(name))
    accuracies = {name: counted.value for name, counted in counts.items()}
    pairs = [(detector, ood) for detector in detectors for ood in ood_data]
    rows = [
        {
            "model": models[detector],
            "detector": detector,
            "ood": ood,
            "count": len(scores[detector][ood]),
            **_figures(scores[detector][id_name], scores[detector][ood], resamples, seed),
            "id_accuracy": accuracies[models[detector]],
        }
        for detector, ood in track(pairs, "Computing intervals", verbose, total=len(pairs))
    ]
    count = len(next(iter(scores.values()))[id_name])
    return Evaluation(
        id=_id_information(id_name, count, accuracies),
        rows=rows,
        scores=scores,
        definitions=_definitions(resamples),
        versions=package_versions(),
        skipped=skipped,
        seed=seed,
        command=command,
        thresholds={
            name: {"threshold": detector.threshold, "tpr": detector.tpr}
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
        if isinstance(detector, ODINDetector) and detector.tuned:
            defaults = detector.with_defaults()
            beside = f"{name} (defaults)"
            if defaults is not None and beside not in detectors:
                shown[beside] = defaults
    return shown


def _score_batch(
    detectors: Mapping[str, Detector], models: Mapping[str, str], inputs: Any
) -> dict[str, dict[str, Any]]:
    """Each detector's scores and each model's predictions, with one pass per classifier."""
    passes: dict[Hashable, Any] = {}
    predictions, scores = {}, {}
    for name, detector in detectors.items():
        key = detector.pass_key
        if key not in passes:
            passes[key] = detector.forward_pass(inputs, **detector.side_values(inputs))
        predictions[models[name]] = ops.argmax(passes[key].logits, axis=-1)
        scores[name] = detector.score(passes[key])
    return {"predictions": predictions, "scores": scores}


def _accuracies(
    detectors: Mapping[str, Detector], models: Mapping[str, str], data: Any
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
    intervals = metrics.bootstrap_intervals(id_scores, ood_scores, resamples, seed)
    return {
        "auroc": metrics.auroc(id_scores, ood_scores),
        "fpr95": metrics.fpr_at_tpr(id_scores, ood_scores),
        "aupr_in": metrics.aupr(id_scores, ood_scores, positive="id"),
        "aupr_out": metrics.aupr(id_scores, ood_scores, positive="ood"),
        "detection_error": metrics.detection_error(id_scores, ood_scores),
        "auroc_interval": list(intervals["auroc"]),
        "fpr95_interval": list(intervals["fpr95"]),
    }


def _check_arguments(
    detectors: Any, ood_data: Any, id_name: str, resamples: int, seed: int
) -> None:
    """Refuses what would otherwise fail after the long pass over the data, or never."""
    for argument, value in {"detectors": detectors, "ood_data": ood_data}.items():
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
    if id_name in ood_data:
        raise ValueError(
            "In- and out-of-distribution data must have different names. Take it out of `ood_data` "
            "(--ood) if it is the same data, else pass another `id_name`. "
            f"Received: id_name={id_name!r}, which is also in `ood_data`"
        )
    check_whole("resamples", resamples, "at least 1", most=1_000_000)
    check_seed(seed)


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


def _id_information(name: str, count: int, accuracies: dict[str, float | None]) -> dict[str, Any]:
    return {
        "name": name,
        "count": count,
        "accuracy": next(iter(accuracies.values())) if len(accuracies) == 1 else None,
        "accuracy_by_model": accuracies,
    }


def _conditions(evaluation: Evaluation) -> tuple[Any, ...]:
    """What must agree for two evaluations to stand in one table."""
    return (
        (evaluation.id["name"], evaluation.id["count"]),
        {row["ood"]: row["count"] for row in evaluation.rows},
        f"seed {evaluation.seed}",
        evaluation.definitions,
    )


def _definitions(resamples: int) -> dict[str, str]:
    return {
        "score": "Higher = more in-distribution (ID); an input is called out-of-distribution "
        "(OOD) when score <= threshold.",
        "auroc": "Area under the ROC curve, ID positive; ties count one half.",
        "fpr95_positive": "id",
        "fpr95": "Fraction of OOD with score > threshold, at the largest threshold with at least "
        "95 % of ID above it (ID positive). Exact under ties, not interpolated.",
        "aupr_in": "Average precision with ID positive; depends on the sample counts.",
        "aupr_out": "Average precision with OOD positive; depends on the sample counts.",
        "detection_error": "Minimum over thresholds of (1 - TPR) / 2 + FPR / 2: ID and OOD equally "
        "likely, best threshold for these scores.",
        "id_accuracy": "Fraction of the ID data classified correctly, measured in the same pass "
        "and on the same pixels as the scores.",
        "intervals": f"95 % percentile bootstrap, {resamples} resamples of ID and of OOD test "
        "samples; the variation between training runs is not in them.",
        "means": "Plain means over the OOD sets.",
    }


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that figures depend on, and of Python."""
    versions: dict[str, str | None] = {}
    for package in ("keras-lodin", "keras", "tensorflow", "numpy", "scikit-learn"):
        key = package.replace("keras-lodin", "keras_lodin")
        try:
            versions[key] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # E.g. installed as tensorflow-cpu.
            versions[key] = None
    return versions | {"python": platform.python_version()}
