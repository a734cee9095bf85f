"""Detectors of model files on data by name."""

from __future__ import annotations

import os
from collections.abc import Sequence

from keras_lodin.data.specification import parse
from keras_lodin.data.value_range import Bounds
from keras_lodin.detectors import registry
from keras_lodin.evaluation.one_pass import evaluate
from keras_lodin.evaluation.results import Evaluation
from keras_lodin.utils.numbers import check_seed
from keras_lodin.workflows.loading import (
    adapted,
    check_each_once,
    load_detectors,
    model_labels,
    settle_detectors,
)
from keras_lodin.workflows.option_checks import check_data_dir, check_ood, check_statistics


def evaluate_models(
    paths: Sequence[str | os.PathLike[str]],
    id: str,
    ood: Sequence[str],
    *,
    detectors: Sequence[str] | None = None,
    statistics: str | None = None,
    input_range: Bounds | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 128,
    resamples: int = 1000,
    seed: int = 0,
    command: str | None = None,
    verbose: int | str = "auto",
) -> Evaluation:
    """Measures how well models tell in-distribution from out-of-distribution data.

    The "test" part of every source is used.

    Args:
        paths: `.keras` files of classifiers or detectors, or folders of training runs.
        id: specification of the in-distribution data.
        ood: specifications of the out-of-distribution data.
        detectors: names of the detectors to wrap classifiers in; `["all"]` for all that apply,
            None for those of them that every evaluation has.
        statistics: specification of the training data that Mahalanobis and MOOD take their
            statistics of; None for the "train" part of `id`.
        input_range: range of the classifiers' inputs; None for a detector's own, or what each
            classifier's first layers or training data show. What was only assumed is told.
        data_dir: folder of the TensorFlow datasets.
        batch_size: samples per batch.
        resamples: number of bootstrap resamples behind each interval.
        seed: seed of the bootstrap.
        command: the command line to record in the results.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

    Returns:
        an `Evaluation` of all models.

    Raises:
        ValueError: for data or models that do not fit each other; see `keras_lodin.evaluate`.
        FileNotFoundError: if a file is missing.

    Example:
    ```python
    found = evaluate_models(["classifier.keras"], "digits:0-6", ["digits:7-9", "noise:uniform"])
    print(found.table())
    ```
    """
    check_each_once(paths=paths, ood=ood)
    if detectors:
        check_each_once(detectors=detectors)
    check_ood(id, ood)
    check_seed(seed)
    check_data_dir(data_dir, id, *ood, statistics)
    evaluations = []
    for path, label in zip(paths, model_labels(paths), strict=True):
        wrapped, inputs = load_detectors(path, list(detectors or []) or None, input_range, data_dir)
        if detectors or (len(paths) == 1 and len(wrapped) == 1):
            # Of all detectors that apply some may take statistics; of several files, too.
            check_statistics(statistics, wrapped.values())
        if statistics is not None or parse(id).has_parts:
            inputs = settle_detectors(wrapped, inputs, statistics or id, "train", batch_size)
        inputs.tell(verbose)
        wrapped = adapted(
            wrapped,
            inputs,
            id,
            statistics,
            named=bool(detectors) and list(detectors or []) != [registry.ALL],
            batch_size=batch_size,
            verbose=verbose,
        )
        evaluations.append(
            evaluate(
                wrapped,
                inputs.load(id, "test"),
                {name: inputs.load(name, "test") for name in ood},
                batch_size=batch_size,
                # Images that leave at exits of their own: another accuracy than the last exit's.
                model={
                    name: f"{label} (early exits)"
                    if detector.takes_exits and len(wrapped) > 1
                    else label
                    for name, detector in wrapped.items()
                },
                id_name=id,
                resamples=resamples,
                seed=seed,
                command=command,
                verbose=verbose,
            )
        )
    return Evaluation.merge(evaluations)
