"""What tells whether data of a name is the same as it was before."""

from __future__ import annotations

from collections.abc import Mapping

from keras_lodin.data.source import Source
from keras_lodin.data.specification import parse


def identity(source: Source) -> dict[str, object]:
    """What can be told of data without keeping it, as JSON values.

    Args:
        source: from `keras_lodin.data.load`.

    Returns:
        `examples` (how many there are, where that is known), `shape`, `class_names` and, of folders
        and `.npz` files, which change under their name, `files`, see `files_identity`.
    """
    return {
        "examples": source.count,
        "shape": list(source.shape),
        "class_names": None if source.class_names is None else list(source.class_names),
        "files": files_identity(source.name),
    }


def files_identity(specification: str) -> str | None:
    """A digest of the files behind a specification; None where it names no files.

    Args:
        specification: of data that is there.
    """
    return parse(specification).digest()


def difference(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """How data of one name differ, in words; empty where they are the same."""
    told = [
        f"{name} was {before[name]!r} and is {value!r}"
        for name, value in now.items()
        if name != "files" and name in before and before[name] != value
    ]
    if not told and before.get("files") != now.get("files"):
        told = ["as many, in other files"]
    return "; ".join(told)
