"""What tells whether data of a name is the same as it was before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from keras_lodin.data.source import Source
from keras_lodin.data.sources.folder import list_images
from keras_lodin.data.specification import parse


def identity(source: Source) -> dict[str, Any]:
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

    Of a folder it is that of the images' names and sizes, because reading them all takes long; of
    an `.npz` file that of its content.

    Args:
        specification: of data that is there.
    """
    named = parse(specification)
    if named.kind == "dir":
        folder = named.options["path"]
        digest = hashlib.sha256()
        for path in list_images(folder):
            name = os.fsencode(os.path.relpath(path, folder))
            digest.update(b"%s\0%d\0" % (name, os.path.getsize(path)))
        return digest.hexdigest()
    if named.kind == "npz":
        return file_digest(named.options["path"])
    return None


def file_digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 digest of a file, read piece by piece."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """How data of one name differ, in words; empty where they are the same."""
    told = [
        f"{name} was {before[name]!r} and is {value!r}"
        for name, value in now.items()
        if name != "files" and name in before and before[name] != value
    ]
    if not told and before.get("files") != now.get("files"):
        told = ["as many, in other files"]
    return "; ".join(told)
