"""The language in which data sources are named: ``KIND`` or ``KIND:ARGUMENT``.

What an argument may be is said where the kind is written; `SOURCES` has them all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from keras_lodin.data.named_source import SOURCES, NamedSource


@dataclass(frozen=True)
class Specification:
    """A data source as the user named it, taken apart.

    Args:
        text: The specification as it was given, e.g. `"digits:0-6"`.
        kind: One of the keys of `SOURCES`.
        source: What it names.
    """

    text: str
    kind: str
    source: NamedSource


def parse(text: str) -> Specification:
    """Takes a data specification apart.

    Args:
        text: A specification in the language that `SOURCES` describes.

    Returns:
        A `Specification`. Whether the data exist is not looked at.

    Raises:
        ValueError: If the kind is unknown (the nearest known ones are named) or what follows
            it is not in the language.

    Example:
    ```python
    parse("digits:0-2").source    # Digits(classes=(0, 1, 2))
    ```
    """
    if not isinstance(text, str):
        raise ValueError(
            f"A data specification is a string such as 'digits:0-6'. Received: {text!r}"
        )
    kind, colon, argument = text.partition(":")
    cls = SOURCES.find(kind, "specification", text)
    try:
        source = cls.parse(argument)
        if colon and not argument:
            raise ValueError("Nothing follows the colon.")
    except ValueError as error:
        raise ValueError(
            f"{error} It is written as {SOURCES.description(kind)}. "
            f"Received: specification={text!r}"
        ) from None
    return Specification(text, kind, source)


def has_parts(text: str) -> bool:
    """Whether the parts of a source, "train", "calibration" and "test", share no example.

    A folder, an .npz file and a named split are taken whole whatever the part.

    Args:
        text: a specification.
    """
    return parse(text).source.has_parts


def overlap(first: str, second: str, *, whole: bool = False) -> bool:
    """Whether two specifications name the same data.

    Args:
        first: a specification.
        second: another.
        whole: whether only all of the data counts. Otherwise so do digits of which some are of the
            same class.

    Returns:
        whether they do. Different slices of a folder and different splits of a dataset are not
        looked into.
    """
    one, other = parse(first), parse(second)
    return one.kind == other.kind and one.source.overlaps(other.source, whole)


def missing(specification: str, data_dir: str | os.PathLike[str] | None = None) -> str | None:
    """What stands in the way of loading a data source, asked before the long work that needs it.

    Args:
        specification: in the language that `SOURCES` describes.
        data_dir: folder of the TensorFlow datasets.

    Returns:
        None if the data are there, are made on the spot, or will be downloaded when they are
        loaded; else a sentence that says what is missing.

    Raises:
        ValueError: if the specification is not in the language.
    """
    return parse(specification).source.missing(data_dir)
