"""The distributions of gradient norms of model files on data by name: files and a figure."""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
from typing_extensions import Unpack

from keras_lodin import models
from keras_lodin.data.batches import check_labels
from keras_lodin.data.source import Source
from keras_lodin.data.value_range import Bounds
from keras_lodin.detectors import Detector
from keras_lodin.evaluation.gradient_comparison import GradientComparison
from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.models.head import find_head, has_exits
from keras_lodin.models.input_range import resolve_input_range
from keras_lodin.models.loading import model_file
from keras_lodin.quotient.distributions import (
    GradientDistributions,
    gradient_distributions,
    norm_settings,
)
from keras_lodin.quotient.settings import QuotientOptions, check_count, with_options_shown
from keras_lodin.utils.numbers import check_seed
from keras_lodin.workflows.loading import InputFormat, check_each_once, model_labels, run_facts
from keras_lodin.workflows.option_checks import check_data_dir, check_ood
from keras_lodin.workflows.run_folder import results_folder


@with_options_shown
def gradients(
    paths: Sequence[str | os.PathLike[str]],
    id: str,
    ood: Sequence[str],
    output: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    limit: int | None = None,
    input_range: Bounds | None = None,
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
    for path in paths:
        model_file(path)  # There, before the work for the first one.
    check_data_dir(data_dir, id, *ood)
    if limit is not None:
        check_count("limit", limit)
    quotient = norm_settings(**options)
    settings = {**quotient.to_dict(), "norm": quotient.norm_used, "seed": seed, "limit": limit}
    del settings["every"], settings["temperature"]  # nothing that could be chosen
    found: dict[str, dict[str, GradientDistributions]] = {}
    accuracies: dict[str, float | None] = {}
    skipped: dict[str, list[tuple[str, str]]] = {}
    with results_folder(output, id, *ood):
        for path, model in zip(paths, model_labels(paths), strict=True):
            classifier, head, inputs = _load(path, input_range, data_dir)
            inputs.tell(verbose)
            found[model] = {}
            for name in (id, *ood):
                source = inputs.load(name, "test")
                if name == id:
                    source = source.with_labels_of(inputs.class_names)
                found[model][name] = gradient_distributions(
                    classifier,
                    _part_of(source, limit, seed, batch_size),
                    **quotient.to_dict() | {"norm": quotient.norm_used},
                    seed=seed,
                    from_logits=head.from_logits,
                    batch_size=batch_size,
                    verbose=verbose,
                )
                if source.skipped:
                    skipped[name] = source.skipped
            accuracies[model] = _accuracy(found[model][id], head.num_classes)
        comparison = GradientComparison(id, found, accuracies, settings, skipped, command)
        if output is not None:
            comparison.save(output)
    return comparison


def _load(
    path: str | os.PathLike[str],
    input_range: Bounds | None,
    data_dir: str | os.PathLike[str] | None,
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
    return model, head, InputFormat(shape, chosen, class_names, str(path), data_dir)


def _part_of(source: Source, limit: int | None, seed: int, batch_size: int) -> object:
    """All of a source, or a few of its samples from everywhere in it, in their order."""
    if limit is None:
        return source
    # Not the first ones: a folder of classes holds one class after the other.
    count = source.steps_per_epoch(1)
    is_chosen = np.arange(count) < limit
    np.random.default_rng(seed).shuffle(is_chosen)
    table = source.reader.stored(is_chosen)
    numbered = source.batches(batch_size).unbatch().enumerate()
    chosen = numbered.filter(lambda position, _: table[position])
    return chosen.map(lambda _, sample: sample).batch(batch_size)


def _accuracy(found: GradientDistributions, num_classes: int) -> float | None:
    if found.labels is None:
        return None
    check_labels(found.labels, num_classes)
    return float(np.mean(found.predicted == found.labels))
