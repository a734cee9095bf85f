"""The language in which data sources are named: ``KIND`` or ``KIND:ARGUMENT``.

What an argument may be is said where the kind is written; `SOURCES` has them all.
"""

from __future__ import annotations

import os

from keras_lodin.data.named_source import SOURCES, NamedSource


def parse(text: str) -> NamedSource:
    """Takes a data specification apart.

    Args:
        text: A specification in the language that `SOURCES` describes.

    Returns:
        What it names. Whether the data exist is not looked at.

    Raises:
        ValueError: If the kind is unknown (the nearest known ones are named) or what follows
            it is not in the language.

    Example:
    ```python
    parse("digits:0-2")    # Digits(classes=(0, 1, 2))
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
    return source


def overlap(first: str, second: str, *, whole: bool = False) -> bool:
    """Whether two specifications name the same data.

    Different slices of a folder and different splits of a dataset are not looked into.

    Args:
        first: a specification.
        second: another.
        whole: whether only all of the data counts. Otherwise so do digits of which some are of the
            same class.
    """
    one, other = parse(first), parse(second)
    return type(one) is type(other) and one.overlaps(other, whole)


def members(specification: str) -> tuple[str, ...]:
    """The single data sets that a specification stands for.

    Args:
        specification: in the language that `SOURCES` describes.

    Returns:
        a specification of each: of a group, such as `openood:cifar10:near`, those of its data sets;
        otherwise the specification itself. Loaded, a group is all of its data in one.

    Raises:
        ValueError: if the specification is not in the language.

    Example:
    ```python
    members("openood:cifar10:near")     # ("openood:cifar10:cifar100", "openood:cifar10:tin")
    members("digits:0-6")               # ("digits:0-6",)
    ```
    """
    return parse(specification).members or (specification,)


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
    return parse(specification).missing(data_dir)
