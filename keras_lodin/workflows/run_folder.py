"""The folder of a job: one run at a time, which goes on with what it finds or refuses it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_lodin.data import difference
from keras_lodin.data.specification import parse
from keras_lodin.utils.files import atomic_write, check_no_input, holds_others
from keras_lodin.utils.folder_claim import claimed


@contextlib.contextmanager
def results_folder(
    output: str | os.PathLike[str] | None, *specifications: str | None
) -> Iterator[None]:
    """Claims the folder for a job, before its work: what cannot be written is said then.

    Args:
        output: the folder; None for a job that writes nothing.
        specifications: of the data that the job reads.

    Raises:
        ValueError: if another run is at work in the folder, or it is a folder of the data or lies
            in one, where plots would become images of it.
        OSError: if nothing can be written there.
    """
    if output is None:
        yield
        return
    folders = [parse(text).source.folder for text in specifications if text is not None]
    check_no_input(output, [folder for folder in folders if folder is not None])
    with claimed(output):
        yield


def earlier_state(path: Path, job: str, **fields: type) -> dict[str, Any] | None:
    """What an earlier start of the same job recorded in its folder.

    Args:
        path: the JSON file of it.
        job: what messages call the job, such as "sweep".
        **fields: what the file must hold, and of which type.

    Returns:
        its content; None where there is no file.

    Raises:
        ValueError: if the file is damaged.
    """
    if not path.exists():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        state = None
    whole = isinstance(state, dict)
    if not whole or not all(isinstance(state.get(name), kind) for name, kind in fields.items()):
        raise ValueError(
            f"The file {path.name} of the {job} is damaged. Restore it, or choose another folder. "
            f"Received: output={str(path.parent)!r}"
        )
    return dict(state)


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Records what `earlier_state` reads."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


def check_begins(output: Path, job: str) -> None:
    """Refuses to begin a job in a folder that holds something else.

    Raises:
        ValueError: if the folder is not new or empty.
    """
    if output.exists() and (not output.is_dir() or holds_others(output)):
        raise ValueError(
            f"The output must be a new or empty folder, or one that holds the same {job}. "
            f"Received: output={str(output)!r}"
        )


def check_same_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], job: str, output: str | os.PathLike[str]
) -> None:
    """Refuses to go on with other settings than a job was begun with.

    Args:
        before: the settings that were recorded.
        now: those given.
        job: what messages call the job.
        output: its folder.

    Raises:
        ValueError: with every setting that differs, and how.
    """
    # As they would be read back: JSON has no tuples.
    now = json.loads(json.dumps(now))
    different = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in {**now, **before}
        if before.get(name) != now.get(name)
    ]
    if different:
        raise ValueError(
            f"The output folder holds a {job} with other settings. Choose another folder, or the "
            f"same settings to go on with it: {'; '.join(different)}. "
            f"Received: output={str(output)!r}"
        )


def check_same_data(
    before: Mapping[str, dict[str, Any]],
    now: Mapping[str, dict[str, Any]],
    job: str,
    output: str | os.PathLike[str],
) -> None:
    """Refuses to go on with other data than a job was begun on: its figures would be others.

    Args:
        before: `keras_lodin.data.identity` of each part of the data, as it was recorded.
        now: as it is; parts that were not recorded are not compared.
        job: what messages call the job.
        output: its folder.

    Raises:
        ValueError: with every part that differs, and how.
    """
    different = [
        f"{part}: {told}"
        for part, identity in now.items()
        if part in before and (told := difference(before[part], identity))
    ]
    if different:
        raise ValueError(
            f"The output folder holds a {job} that was begun on other data. Choose another folder, "
            f"or give it the same data to go on with: {'; '.join(different)}. "
            f"Received: output={str(output)!r}"
        )
