"""The language in which data sources are named, read in this one place.

A specification is ``KIND`` or ``KIND:ARGUMENT``; `SOURCES` lists the kinds and how each is written.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

from keras_lodin.utils.registry import did_you_mean

SOURCES = {
    "digits": "digits[:CLASSES]: scikit-learn's handwritten digits; digits:0-6, digits:1,3,5",
    "photos": "photos[:COUNT]: patches of scikit-learn's two photographs; photos:500",
    "tfds": "tfds:NAME[:SPLIT]: TensorFlow Datasets; tfds:cifar10, tfds:cifar10:test[:50%]",
    "dir": "dir:PATH[SLICE]: a folder of images, or of one folder per class; dir:images[:80%]",
    "npz": "npz:PATH[SLICE]: arrays x (or images) and y (or labels); npz:data.npz[80%:]",
    "noise": "noise:uniform[:COUNT] or noise:gaussian[:COUNT]: independent random values",
}

DEFAULT_COUNT = 1000
# More made-up examples than anyone scores: a count with a few zeros too many.
LARGEST_COUNT = 10_000_000
NOISES = ("uniform", "gaussian")

_SLICE = re.compile(r"(?P<path>.+?)(?P<slice>\[(?:-?\d+%?)?:(?:-?\d+%?)?\])?")


@dataclasses.dataclass(frozen=True)
class Specification:
    """A data source as the user named it, taken apart.

    Args:
        text: The specification as it was given, e.g. `"digits:0-6"`.
        kind: One of the keys of `SOURCES`.
        options: What follows the kind, as the keyword arguments of that kind's loader.
    """

    text: str
    kind: str
    options: dict[str, Any]


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
    parse("digits:0-2").options    # {"classes": (0, 1, 2)}
    ```
    """
    if not isinstance(text, str):
        raise ValueError(
            f"A data specification is a string such as 'digits:0-6'. Received: {text!r}"
        )
    kind, colon, argument = text.partition(":")
    if kind not in _PARSERS:
        raise ValueError(
            f"A data specification begins with one of {', '.join(SOURCES)}, as in 'digits:0-6'; a "
            f"folder of images is 'dir:PATH', a file of arrays 'npz:PATH'."
            f"{did_you_mean(kind, SOURCES)} Received: specification={text!r}"
        )
    try:
        options = _PARSERS[kind](argument)
        if colon and not argument:
            raise ValueError("Nothing follows the colon.")
    except ValueError as error:
        raise ValueError(
            f"{error} It is written as {SOURCES[kind]}. Received: specification={text!r}"
        ) from None
    return Specification(text, kind, options)


def has_parts(text: str) -> bool:
    """Whether the parts of a source, "train", "calibration" and "test", share no example.

    A folder, an .npz file and a named split are taken whole whatever the part.

    Args:
        text: a specification.
    """
    specification = parse(text)
    if specification.kind == "tfds":
        return specification.options["split"] is None
    return specification.kind not in ("dir", "npz")


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
    if one.kind != other.kind:
        return False
    if one.kind == "digits" and not whole:
        return not set(one.options["classes"]).isdisjoint(other.options["classes"])
    if one.kind in ("photos", "noise"):
        # A smaller count is a part of the larger one, or drawn alike.
        return {**one.options, "count": 0} == {**other.options, "count": 0}
    return _located(one.options) == _located(other.options)


def _located(options: dict[str, Any]) -> dict[str, Any]:
    """Options in which a place has one name only."""
    if "path" not in options:
        return options
    return {**options, "path": os.path.realpath(options["path"])}


def _parse_digits(argument: str) -> dict[str, Any]:
    classes: set[int] = set()
    for item in argument.split(",") if argument else ["0-9"]:
        match = re.fullmatch(r"([0-9])(?:-([0-9]))?", item.strip())
        if not match:
            raise ValueError(f"{item!r} is not a digit 0 to 9 nor a range of digits such as 0-6.")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise ValueError(f"The range {item!r} runs backwards.")
        classes.update(range(first, last + 1))
    return {"classes": tuple(sorted(classes))}


def _parse_photos(argument: str) -> dict[str, Any]:
    return {"count": _parse_count(argument)}


def _parse_tfds(argument: str) -> dict[str, Any]:
    # Only the first colon separates: a split may hold others, as in test[:50%].
    dataset, _, split = argument.partition(":")
    if not dataset:
        raise ValueError("The name of a TensorFlow dataset is missing.")
    return {"dataset": dataset, "split": split or None}


def _parse_path(argument: str) -> dict[str, Any]:
    match = _SLICE.fullmatch(argument)
    if not match:
        raise ValueError("The path is missing.")
    # A shell leaves the `~` of `dir:~/images` as it is.
    return {"path": os.path.expanduser(match["path"]), "slice_text": match["slice"]}


def _parse_noise(argument: str) -> dict[str, Any]:
    distribution, _, count = argument.partition(":")
    if distribution not in NOISES:
        raise ValueError(f"{distribution!r} is not a kind of noise: there are {', '.join(NOISES)}.")
    return {"distribution": distribution, "count": _parse_count(count)}


def _parse_count(text: str) -> int:
    if not text:
        return DEFAULT_COUNT
    if not re.fullmatch(r"[1-9]\d*", text, re.ASCII) or int(text) > LARGEST_COUNT:
        raise ValueError(
            f"The count {text!r} is not a positive whole number, {LARGEST_COUNT} at most."
        )
    return int(text)


_PARSERS = {
    "digits": _parse_digits,
    "photos": _parse_photos,
    "tfds": _parse_tfds,
    "dir": _parse_path,
    "npz": _parse_path,
    "noise": _parse_noise,
}
