"""The SHA-256 of an artifact: it tells a damaged or edited file from the one that was exported.

It is no signature: whoever changes a file on purpose can write the digest anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# The field of the metadata that holds the digest, of a SavedModel and of a LiteRT file.
DIGEST_FIELD = "sha256"

_CHUNK = 2**20


def metadata_digest(metadata: Mapping[str, object], content: Iterable[bytes]) -> str:
    """The digest of metadata, but for its own field, and of what they describe: 64 digits."""
    described = {key: value for key, value in metadata.items() if key != DIGEST_FIELD}
    found = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for piece in content:
        found.update(piece)
    return found.hexdigest()


def saved_model_content(folder: Path) -> Iterator[bytes]:
    """What TensorFlow reads of a SavedModel, file by file with its name.

    Not `assets.extra`, which TensorFlow leaves to others: TensorFlow Serving has its warm-up
    requests there.
    """
    files = [folder / "saved_model.pb", folder / "fingerprint.pb"]
    for part in ("variables", "assets"):
        files += (path for path in (folder / part).rglob("*") if not path.name.startswith("."))
    for path in sorted(files):
        if path.is_file():
            yield f"\n{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode()
            yield from pieces(path)


def not_as_exported(path: str | os.PathLike[str]) -> ValueError:
    """The error for an artifact whose digest is not that of its content."""
    return ValueError(
        "The artifact is not as it was exported: its SHA-256 digest is another than the one that "
        "the export wrote into it, so it is damaged or was edited. Export the detector again; "
        "after an edit on purpose, such as quantisation, compare its scores with the detector's "
        "and then call `keras_lodin.export.seal(path)`, which writes the digest of what is there. "
        f"Received: path={path}"
    )


def check_digest(
    metadata: Mapping[str, object], content: Iterable[bytes], path: str | os.PathLike[str]
) -> None:
    """Refuses what is not as exported; files of version 1 of the metadata have no digest."""
    if "metadata_version" not in metadata and DIGEST_FIELD not in metadata:
        return
    if metadata.get(DIGEST_FIELD) != metadata_digest(metadata, content):
        raise not_as_exported(path)


def pieces(path: Path) -> Iterator[bytes]:
    """The content of a file, in pieces that fit into memory."""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece
