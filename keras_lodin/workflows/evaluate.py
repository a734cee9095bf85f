"""Detectors of model files on data by name."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np

from keras_lodin.data import files_identity
from keras_lodin.data.specification import members, parse
from keras_lodin.data.value_range import Bounds
from keras_lodin.detectors import registry
from keras_lodin.evaluation.one_pass import check_resamples, evaluate
from keras_lodin.evaluation.results import Evaluation
from keras_lodin.evaluation.scored_sets import ScoredSets
from keras_lodin.models.loading import model_file
from keras_lodin.utils.files import OWN_PREFIX, file_digest
from keras_lodin.utils.numbers import check_seed
from keras_lodin.workflows.loading import (
    adapted,
    check_each_once,
    check_lists,
    load_detectors,
    model_labels,
    settle_detectors,
)
from keras_lodin.workflows.option_checks import (
    check_data_dir,
    check_groups_there,
    check_ood,
    check_shifted,
    check_statistics,
)
from keras_lodin.workflows.run_folder import JobFolder, results_folder

# In the folder of the results, until they are saved: the data sets that are through.
_BEGUN = f"{OWN_PREFIX}-evaluation"


@contextlib.contextmanager
def evaluation_folder(
    output: str | os.PathLike[str] | None, *specifications: str | None
) -> Iterator[None]:
    """Claims the folder of an evaluation's results, see `results_folder`.

    What `evaluate_models` keeps there for the case that it is killed is removed at the end, when
    the results are saved.
    """
    with results_folder(output, *specifications):
        yield
        if output is not None:
            shutil.rmtree(Path(output) / _BEGUN, ignore_errors=True)


def evaluate_models(
    paths: Sequence[str | os.PathLike[str]],
    id: str,
    ood: Sequence[str] = (),
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    shifted: Sequence[str] = (),
    detectors: Sequence[str] | None = None,
    statistics: str | None = None,
    input_range: Bounds | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 128,
    resamples: int = 1000,
    seed: int = 0,
    command: str | None = None,
    verbose: int | str = "auto",
    output: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Measures how well models tell in-distribution from out-of-distribution data.

    The "test" part of every source is used.

    Args:
        paths: `.keras` files of classifiers or detectors, or folders of training runs.
        id: specification of the in-distribution data.
        ood: specifications of the out-of-distribution data. One that names a group, such as
            `openood:cifar10:near`, stands for the data sets of the group, which keep its name.
        groups: name of a group -> specifications of the out-of-distribution data in it, which have
            a mean of their own in the results.
        shifted: specifications of covariate-shifted data of the classifiers' classes; see
            `keras_lodin.evaluate`.
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
        output: the folder that the results will be saved in. The scores of each data set are kept
            there as soon as it is through, so that an evaluation that was killed goes on with the
            next; see `evaluation_folder`. None for one that begins anew each time.

    Returns:
        an `Evaluation` of all models.

    Raises:
        ValueError: for data or models that do not fit each other; see `keras_lodin.evaluate`. For
            an `output` with an evaluation that was begun with other models, data or settings.
        FileNotFoundError: if a file is missing.

    Example:
    ```python
    found = evaluate_models(
        ["classifier.keras"],
        "digits:0-6",
        groups={"near": ["digits:7-9"], "far": ["noise:uniform", "photos"]},
    )
    print(found.table())
    ```
    """
    check_each_once(paths=paths)
    if detectors:
        check_each_once(detectors=detectors)
    groups = {} if groups is None else groups
    named = ood_sets(ood, groups)
    check_lists(shifted=shifted)
    shifted_sets = [single for one in shifted for single in members(one)]
    check_ood(id, list(named))
    check_shifted(id, shifted_sets, list(named))
    check_seed(seed)
    check_resamples(resamples)
    check_data_dir(data_dir, id, *named, *shifted_sets, statistics)
    check_groups_there([*ood, *chain(*groups.values()), *shifted], data_dir)
    # Before hours of the first one.
    files = {str(path): model_file(path) for path in paths}
    settings = {
        "models": {name: file_digest(file) for name, file in files.items()},
        "id": id,
        "ood": named,
        "shifted": shifted_sets,
        "detectors": None if detectors is None else list(detectors),
        "statistics": statistics,
        "input_range": (
            None if input_range is None else [np.asarray(end).tolist() for end in input_range]
        ),
        "batch_size": batch_size,
        "resamples": resamples,
        "seed": seed,
        "keras_lodin_version": version("keras-lodin"),
    }
    evaluations: list[Evaluation] = []
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
        sources = {name: inputs.load(name, "test") for name in (id, *named, *shifted_sets)}
        if output is not None and not evaluations:
            _begin_or_go_on(Path(output), settings, [*sources, statistics or id])
        evaluations.append(
            evaluate(
                wrapped,
                sources[id],
                _in_groups({name: sources[name] for name in named}, named),
                shifted={name: sources[name] for name in shifted_sets},
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
                scored=None
                if output is None
                else ScoredSets(Path(output) / _BEGUN / str(len(evaluations))),
            )
        )
    return Evaluation.merge(evaluations)


def _begin_or_go_on(
    output: Path, settings: Mapping[str, object], specifications: Sequence[str]
) -> None:
    """Notes what an evaluation is of, or refuses to go on with another."""
    job = JobFolder(output, "begun evaluation")
    data = {
        name: {"files": digest}
        for name in specifications
        if (digest := files_identity(name)) is not None
    }
    name = f"{_BEGUN}/settings.json"
    before = job.earlier_state(name, settings=dict, data=dict)
    # One that failed before anything was scored is no evaluation yet.
    if before is None or not any((output / _BEGUN).glob("*/*.npz")):
        job.record(name, {"settings": settings, "data": data})
    else:
        job.check_same_settings(before["settings"], settings)
        job.check_same_data(before["data"], data)


def ood_sets(ood: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """The group of each OOD set, by the set's specification; None for those outside of groups.

    Raises:
        ValueError: for none, or a data set that is named twice, in whatever groups.
    """
    if not isinstance(groups, Mapping):
        raise TypeError(
            "`groups` must be a dict, from the name of each group to a list of data sets. "
            f"Received: groups={groups!r}"
        )
    given: list[tuple[str | None, Sequence[str]]] = [(None, ood), *groups.items()]
    for group, names in given:
        check_lists(**{"ood" if group is None else f"groups[{group!r}]": names})
    single = [
        (name, parse(specification).group if group is None else group)
        for group, names in given
        for specification in names
        for name in members(specification)
    ]
    if not single:
        raise ValueError(
            "Name one or more out-of-distribution data sets, as `ood` (--ood SPEC) or in `groups` "
            f"(--near SPEC, --far SPEC). Received: ood={list(ood)}, groups={dict(groups)}"
        )
    check_each_once(ood=[name for name, _ in single])
    return dict(single)


def _in_groups(data: Mapping[str, object], groups: Mapping[str, str | None]) -> dict[str, object]:
    """Data by name, those of a group in a dict of its own, as `keras_lodin.evaluate` has it."""
    found: dict[str, dict[str, object]] = {}
    for name, one in data.items():
        group = groups[name]
        if group is not None:
            found.setdefault(group, {})[name] = one
    return {**{name: one for name, one in data.items() if groups[name] is None}, **found}
