"""Which column of stored records holds the image, and which one names it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

# What data sets call them, the likeliest first.
_IMAGES = ("image", "image/encoded", "encoded", "image_bytes", "bytes", "image_raw", "jpeg", "png")
_KEYS = ("key", "image/filename", "filename", "file_name", "path", "image_id", "id")


def image_column(
    given: str | None, candidates: Collection[str], there: Collection[str], path: str
) -> str:
    """The column of encoded images.

    Args:
        given: the name that a user gave, or None.
        candidates: the columns that hold bytes.
        there: all columns.
        path: of the file, for messages.

    Raises:
        ValueError: if it is none of `candidates`, or none was given and there is not one alone.
    """
    if given is not None:
        if given in candidates:
            return given
        raise ValueError(
            f"There is no column {given!r} of encoded images in {path}. Expected one of "
            f"{_listed(candidates)}. Received: image_column={given!r}, a file with the columns "
            f"{_listed(there)}"
        )
    if len(candidates) == 1:
        return next(iter(candidates))
    named = next((name for name in _IMAGES if name in candidates), None)
    if named is None:
        raise ValueError(
            f"It is unclear which column of {path} holds the encoded images (PNG, JPEG, BMP or "
            "GIF files as bytes): name it with `image_column`, `--image-column` on the command "
            f"line. Received: a file with the columns {_listed(there)}"
        )
    return named


def key_column(
    given: str | None, there: Mapping[str, object] | Collection[str], path: str
) -> str | None:
    """The column of the images' names; None where there is none, and rows are counted.

    Raises:
        ValueError: if the one that was given is not there.
    """
    if given is not None and given not in there:
        raise ValueError(
            f"There is no column {given!r} in {path}. "
            f"Received: key_column={given!r}, a file with the columns {_listed(there)}"
        )
    return given or next((name for name in _KEYS if name in there), None)


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
