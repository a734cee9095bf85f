"""The distributions of gradient norms of model files on data by name: files and a figure."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops
from rich.console import Group
from rich.table import Table
from rich.text import Text
from typing_extensions import Unpack

from keras_lodin import metrics, models
from keras_lodin.data.batches import check_labels
from keras_lodin.data.source import Source
from keras_lodin.detectors import Detector
from keras_lodin.evaluation.gradient_plots import write_gradient_figure
from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.models.head import find_head, has_exits
from keras_lodin.models.input_range import resolve_input_range
from keras_lodin.quotient.distributions import (
    QUANTITIES,
    GradientDistributions,
    gradient_distributions,
    norm_settings,
)
from keras_lodin.quotient.settings import (
    QuotientOptions,
    QuotientSettings,
    check_count,
    with_options_shown,
)
from keras_lodin.report.tables import terminal_table
from keras_lodin.utils.files import file_digests, write_file, write_json, write_together
from keras_lodin.utils.foreign_text import csv_cell, shown
from keras_lodin.utils.numbers import check_seed
from keras_lodin.utils.versions import package_versions
from keras_lodin.workflows.loading import (
    InputFormat,
    check_each_once,
    model_labels,
    run_facts,
)
from keras_lodin.workflows.option_checks import check_data_dir, check_ood
from keras_lodin.workflows.results_folder import results_folder

COLUMNS = ("model", "data", "kind", *QUANTITIES)

_NOTE = (
    "Medians of the norm of the predicted class's gradient, of the sum of the others' norms (both "
    "as base-10 logarithms), and of their quotient. In brackets the AUROC in per cent with the "
    "quantity as a score, higher = more in-distribution: below 50 it is larger on OOD data."
)


@dataclass(frozen=True)
class GradientComparison:
    """What `gradients` computed, with everything needed to read it later.

    Attributes:
        id: name of the in-distribution (ID) data.
        distributions: `distributions[model][data set]`, ID data included.
        accuracies: of each model, the fraction of the ID data classified correctly; None without
            labels.
        settings: `"form"`, `"estimator"`, `"samples"`, `"norm"`, `"seed"` and `"limit"`.
        skipped: data set -> list of `(path, reason)`, the files that could not be read.
        command: the command line behind it, or None.
    """

    id: str
    distributions: dict[str, dict[str, GradientDistributions]]
    accuracies: dict[str, float | None]
    settings: dict[str, Any]
    skipped: dict[str, list[tuple[str, str]]]
    command: str | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per model and data set: counts, statistics and, for OOD data, AUROCs."""
        rows = []
        for model, sets in self.distributions.items():
            for name, found in sets.items():
                values = {quantity: getattr(found, quantity) for quantity in QUANTITIES}
                rows.append(
                    {
                        "model": model,
                        "data": name,
                        "kind": self._kind(name),
                        "count": len(found),
                        "zero_label_gradients": _infinite(found.log10_label_norm),
                        "zero_other_gradients": _infinite(found.log10_other_norm),
                        **{key: _statistics(array) for key, array in values.items()},
                        "auroc": None
                        if name == self.id
                        else {
                            key: _auroc(getattr(sets[self.id], key), array)
                            for key, array in values.items()
                        },
                    }
                )
        return rows

    def table(self) -> Group:
        """The medians and AUROCs, a table per model: hand it to rich's `Console.print`."""
        parts: list[Any] = []
        for model in self.distributions:
            accuracy = self.accuracies[model]
            known = "unknown (no labels)" if accuracy is None else f"{100 * accuracy:.1f} %"
            parts.append(Text(shown(f"{model}: ID accuracy {known}"), style="bold"))
            parts.append(_table([row for row in self.rows if row["model"] == model]))
            parts.append("")
        for name, files in self.skipped.items():
            line = f"{name}: {len(files)} unreadable files left out, the first is {files[0][0]}"
            parts.append(Text(shown(line)))
        return Group(*parts, Text(_NOTE, style="dim"))

    def to_dict(self) -> dict[str, Any]:
        """What `gradients.json` holds: everything but the single samples."""
        return {
            "id": {"name": self.id, "accuracy_by_model": self.accuracies},
            "settings": self.settings,
            "results": self.rows,
            "definitions": _definitions(**self.settings),
            "versions": package_versions(),
            "skipped": self.skipped,
            "command": self.command,
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `gradients.json`, `gradients.csv` (every sample) and `gradients.png`.

        All are written before the first of an earlier comparison is replaced. `gradients.json`
        comes last, and holds under `files` the SHA-256 digests of the others.

        Args:
            folder: where to put them; made if missing, other files in it are left alone.

        Raises:
            OSError: if a file cannot be written. What was there before is then still there.
        """
        with write_together(folder, "gradients.json") as written:
            write_file(written / "gradients.csv", self._samples_as_csv().encode())
            write_gradient_figure(
                self.distributions,
                self.id,
                written / "gradients.png",
                self.settings["form"],
                self.settings["norm"],
            )
            document = {**self.to_dict(), "files": file_digests(written)}
            write_json(document, written / "gradients.json")

    def _samples_as_csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for model, sets in self.distributions.items():
            for name, found in sets.items():
                values = (getattr(found, quantity) for quantity in QUANTITIES)
                for sample in zip(*values, strict=True):
                    numbers = [f"{value:.7g}" for value in sample]
                    names = (csv_cell(model), csv_cell(name), self._kind(name))
                    writer.writerow([*names, *numbers])
        return text.getvalue()

    def _kind(self, name: str) -> str:
        return "id" if name == self.id else "ood"


@with_options_shown
def gradients(
    paths: Sequence[str | os.PathLike[str]],
    id: str,
    ood: Sequence[str],
    output: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    limit: int | None = None,
    input_range: tuple[float, float] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 32,
    command: str | None = None,
    verbose: int | str = "auto",
    **options: Unpack[QuotientOptions],
) -> GradientComparison:
    """Compares the gradient norms of models on in-distribution and out-of-distribution data.

    For every sample: the norm of the predicted class's input gradient, the sum of the others'
    norms, and their quotient; see `keras_lodin.gradient_distributions`. The "test" part of every
    source is used.

    Args:
        paths: `.keras` files of classifiers or detectors, or folders of training runs. Of a
            detector the classifier inside is taken, of a network with several exits the last.
        id: specification of the in-distribution data.
        ood: specifications of the out-of-distribution data.
        output: the folder for `gradients.json`, `gradients.csv` and `gradients.png`, or None.
        seed: of what is drawn, estimators and `limit`.
        limit: at most so many samples of each data set, drawn from all of it; None for all.
        input_range: range of the classifiers' inputs; None for a detector's own, or judged by the
            first layers of each classifier.
        data_dir: folder of the TensorFlow datasets.
        batch_size: samples per batch.
        command: the command line to record in the results.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.
        **options: of the norms, see `keras_lodin.gradient_distributions`.

    Returns:
        a `GradientComparison`.

    Raises:
        ValueError: for settings, data or models that do not fit each other.
        FileNotFoundError: if a file is missing.
    """
    check_each_once(paths=paths, ood=ood)
    check_ood(id, ood)
    check_seed(seed)
    check_data_dir(data_dir, id, *ood)
    if limit is not None:
        check_count("limit", limit)
    settings = norm_settings(**options)
    settings = replace(settings, norm=settings.norm_used)
    with results_folder(output, id, *ood):
        comparison = _compared(
            *(paths, id, ood, settings, seed, limit, input_range, data_dir),
            *(batch_size, command, verbose),
        )
        if output is not None:
            comparison.save(output)
    return comparison


def _compared(
    paths: Sequence[str | os.PathLike[str]],
    id: str,
    ood: Sequence[str],
    settings: QuotientSettings,
    seed: int,
    limit: int | None,
    input_range: tuple[float, float] | None,
    data_dir: str | os.PathLike[str] | None,
    batch_size: int,
    command: str | None,
    verbose: int | str,
) -> GradientComparison:
    distributions: dict[str, dict[str, GradientDistributions]] = {}
    accuracies: dict[str, float | None] = {}
    skipped: dict[str, list[tuple[str, str]]] = {}
    for path, model in zip(paths, model_labels(paths), strict=True):
        classifier, head, inputs = _load(path, input_range)
        inputs.tell(verbose)
        found = distributions[model] = {}
        for name in (id, *ood):
            source = inputs.load(name, "test", data_dir)
            if name == id:
                source = source.with_labels_of(inputs.class_names)
            found[name] = gradient_distributions(
                classifier,
                _part_of(source, limit, seed, batch_size),
                seed=seed,
                from_logits=head.from_logits,
                batch_size=batch_size,
                verbose=verbose,
                **settings.changed,
            )
            if name == id:
                accuracies[model] = _accuracy(found[id], head.num_classes)
            if source.skipped:
                skipped[name] = source.skipped
    return GradientComparison(
        id=id,
        distributions=distributions,
        accuracies=accuracies,
        settings={
            "form": settings.form,
            "estimator": settings.estimator,
            "samples": settings.samples,
            "norm": settings.norm,
            "seed": seed,
            "limit": limit,
        },
        skipped=skipped,
        command=command,
    )


def _load(
    path: str | os.PathLike[str], input_range: tuple[float, float] | None
) -> tuple[keras.Model, ClassifierHead, InputFormat]:
    """A classifier, where its logits are, and the format of its inputs."""
    model = models.load(path)
    class_names, known = run_facts(path)
    from_logits = None
    if isinstance(model, Detector):
        known, class_names = model.judged_input_range, model.class_names
        model, from_logits = model.classifier, model.from_logits
    if has_exits(model):
        model = models.at_exit(model)
    head = find_head(model, from_logits)
    shape = head.input_shape[1:]
    chosen = resolve_input_range(input_range or known, model, shape)
    return model, head, InputFormat(shape, chosen, class_names, str(path))


def _part_of(source: Source, limit: int | None, seed: int, batch_size: int) -> Any:
    """All of a source, or a few of its samples from everywhere in it, in their order."""
    if limit is None:
        return source
    # Not the first ones: a folder of classes holds one class after the other.
    count = source.steps_per_epoch(1)
    is_chosen = np.arange(count) < limit
    np.random.default_rng(seed).shuffle(is_chosen)
    numbered = source.batches(batch_size).unbatch().enumerate()
    chosen = numbered.filter(lambda position, _: ops.take(is_chosen, position))
    return chosen.map(lambda _, sample: sample).batch(batch_size)


def _accuracy(found: GradientDistributions, num_classes: int) -> float | None:
    if found.labels is None:
        return None
    check_labels(found.labels, num_classes)
    return float(np.mean(found.predicted == found.labels))


def _infinite(values: np.ndarray) -> int:
    return int(np.sum(~np.isfinite(values)))


def _statistics(values: np.ndarray) -> dict[str, float | None]:
    """Quartiles and mean of the values that are finite; None where there is none."""
    names = ("lower_quartile", "median", "upper_quartile", "mean")
    some = values[np.isfinite(values)].astype("float64")
    if not some.size:
        return dict.fromkeys(names)
    figures = [*np.quantile(some, (0.25, 0.5, 0.75)), some.mean()]
    return {name: float(figure) for name, figure in zip(names, figures, strict=True)}


def _auroc(id_values: np.ndarray, ood_values: np.ndarray) -> float:
    both = np.concatenate([id_values, ood_values])
    # Only the order counts, and the logarithm of zero comes before all others.
    lowest = np.min(both, initial=0.0, where=np.isfinite(both)) - 1.0
    return metrics.auroc(*(np.maximum(values, lowest) for values in (id_values, ood_values)))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = terminal_table()
    table.add_column("")
    table.add_column("Data", overflow="fold")
    for column in ("Count", "Predicted", "Others", "Quotient"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = []
        for quantity, digits in zip(QUANTITIES, (2, 2, 3), strict=True):
            median = row[quantity]["median"]
            value = "all zero" if median is None else f"{median:.{digits}f}"
            auroc = "" if row["auroc"] is None else f" ({100 * row['auroc'][quantity]:.1f})"
            cells.append(value + auroc)
        table.add_row(row["kind"].upper(), Text(shown(row["data"])), f"{row['count']:,}", *cells)
    return table


def _definitions(
    form: str, estimator: str, samples: int, norm: str, **_: int | None
) -> dict[str, str]:
    output = "the softmax at temperature 1" if form == "softmax" else "the logits"
    drawn = "" if estimator == "exact" else f", estimated ({estimator}, {samples} per sample)"
    return {
        "log10_label_norm": f"Base-10 logarithm of the {norm} norm of the gradient, by the input, "
        f"of the predicted class's component of {output}{drawn}.",
        "log10_other_norm": f"Base-10 logarithm of the sum of the {norm} norms of the other "
        "classes' gradients.",
        "quotient": "The first norm over the second; 0 where the second is zero.",
        "zero_gradients": "Samples whose norm is zero have no logarithm. They are counted, and "
        "left out of the statistics of that norm; in the AUROC they rank below all others.",
        "auroc": "Area under the ROC curve, ID positive, with the quantity as the score: higher = "
        "more in-distribution. Below 0.5 the quantity is larger on OOD data.",
        "limit": "At most so many samples of each data set, drawn at random from all of it.",
    }
