"""Options of the jobs that would have no effect, or another one than meant."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence

from keras_lodin.data.source import Source
from keras_lodin.data.specification import missing, overlap, parse
from keras_lodin.detectors import Detector, registry

_SHOWN = 3


def check_ood(id: str, ood: Sequence[str]) -> None:
    """Raises ValueError for OOD data that are named twice, or that are in-distribution data.

    Slices and splits of other names are taken for other data.
    """
    for place, name in enumerate(ood):
        if overlap(id, name):
            raise ValueError(
                "In- and out-of-distribution data must differ, or every figure is that of chance. "
                f"Received: id={id!r}, ood={name!r}"
            )
        for other in ood[:place]:
            if name == other or overlap(name, other, whole=True):
                raise ValueError(
                    "`ood` must hold each data set once. Received: "
                    f"{other!r} and {name!r}, which are the same"
                )


def check_shifted(id: str, shifted: Sequence[str], ood: Sequence[str]) -> None:
    """Raises ValueError for shifted data that are named twice, or are other data of the job."""
    for place, name in enumerate(shifted):
        others = (id, *shifted[:place])
        if any(one == name or overlap(one, name, whole=True) for one in others):
            raise ValueError(
                "`shifted` (--shifted) must hold other data than the in-distribution data, each "
                f"once. Received: id={id!r}, shifted={list(shifted)}"
            )
        if any(overlap(one, name) for one in ood):
            raise ValueError(
                "Shifted data count as in-distribution, and cannot be out-of-distribution data "
                f"too. Received: shifted={name!r}, which is also in `ood` or `groups`"
            )


def check_groups_there(
    specifications: Iterable[str], data_dir: str | os.PathLike[str] | None
) -> None:
    """Raises FileNotFoundError for groups of data sets of which something is missing, all at once.

    Single data sets say so themselves when they are loaded, which is before anything is scored.
    """
    problems = [
        f"{name}: {problem}"
        for name in specifications
        if parse(name).members and (problem := missing(name, data_dir))
    ]
    if problems:
        raise FileNotFoundError(
            f"Not all data sets are there. {' | '.join(problems)}. Received: data_dir={data_dir!r}"
        )


def check_validation(id: str, validation: str | None) -> None:
    """Raises ValueError where the validation data are the training data, without parts."""
    if validation is not None and not parse(id).has_parts and overlap(id, validation, whole=True):
        raise ValueError(
            "The validation data are the training data, so they would tell nothing: cut both with "
            "slices such as [:80%] and [80%:], or name other data as `validation` (--validation "
            f"SPEC). Received: id={id!r}, validation={validation!r}"
        )


def check_statistics(statistics: str | None, detectors: Iterable[Detector]) -> None:
    """Raises ValueError for training data where no detector waits for statistics of them."""
    detectors = list(detectors)
    waiting = not all(one.adapted for one in detectors)
    if statistics is not None and not waiting:
        raise ValueError(
            "`statistics` (--statistics) names the training data that detectors such as vim and "
            "mahalanobis take their statistics of. Leave it out, or choose one of them (--detector "
            "vim). "
            f"Received: statistics={statistics!r}, with "
            f"{', '.join(map(registry.name_of, detectors))}, without statistics to take"
        )


def check_data_dir(data_dir: str | os.PathLike[str] | None, *specifications: str | None) -> None:
    """Warns of a folder of TensorFlow datasets or OpenOOD's where none of the data is of them."""
    names = [name for name in specifications if name is not None]
    if data_dir is not None and not any(parse(name).reads_data_dir for name in names):
        warnings.warn(
            "`data_dir` (--data-dir) has no effect: it is the folder of TensorFlow datasets or of "
            "OpenOOD's data, and none is named. "
            f"Received: data_dir={str(data_dir)!r}, the data {', '.join(names)}",
            stacklevel=3,
        )


def warn_of_unreadable(source: Source) -> None:
    """Warns of the files of a source that could not be read, once it was read through."""
    skipped = source.skipped
    if skipped:
        shown = "; ".join(f"{path}: {reason}" for path, reason in skipped[:_SHOWN])
        more = "; ..." if len(skipped) > _SHOWN else ""
        warnings.warn(
            f"{len(skipped)} of {source.stored} files of {source.name!r} could not be read and "
            f"were skipped: {shown}{more}",
            stacklevel=3,
        )
