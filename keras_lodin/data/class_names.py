"""Labels by the names of their classes, wherever both sides have names."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from keras_lodin.utils.registry import did_you_mean

# How many names of a long list a message shows.
_SHOWN = 20


def class_names_of(data: object) -> tuple[str, ...] | None:
    """The names of the classes that data carry, in the order of their labels; None without.

    A `keras_lodin.data.Source` has them, and what `keras.utils.image_dataset_from_directory`
    returns.
    """
    names = getattr(data, "class_names", None)
    if not isinstance(names, (list, tuple)) or not names:
        return None
    return tuple(map(str, names))


def label_places(
    found: Sequence[str] | None,
    known: Sequence[str] | None,
    name: str,
    empty: Collection[str] = (),
) -> np.ndarray | None:
    """Where the classes of data are among those of a classifier.

    Args:
        found: names of the data's classes, in the order of their labels; None without names.
        known: names of the classifier's, so too.
        name: what the data are called, for messages.
        empty: names in `found` that have no example: they need no place.

    Returns:
        int64 array: label in the data -> label of the classifier, -1 for a class without a place.
        None where labels agree as they are, or one side has no names: none at all, or "0", "1",
        "2" and so on beside names that are words, as data sets without names have them.

    Raises:
        ValueError: for a class that the classifier does not know, or whose name it has twice.
    """
    if found is None or known is None:
        return None
    theirs, ours = list(map(_plain, found)), list(map(_plain, known))
    if theirs == ours or _numbered(theirs, ours) or _numbered(ours, theirs):
        return None
    places = {one: place for place, one in enumerate(ours)}
    counts = Counter(ours)
    without = set(map(_plain, empty))
    needed = [one for one, plain in zip(found, theirs, strict=True) if plain not in without]
    unknown = [one for one in needed if _plain(one) not in places]
    if unknown:
        hint = did_you_mean(str(unknown[0]), map(str, known))
        raise ValueError(
            f"The classifier does not know {_listed(unknown)} among the classes of {name}: it "
            f"knows {_listed(known)}.{hint} Take data of its classes, or name them as it does. "
            f"Received: classes {_listed(found)}"
        )
    twice = [one for one in needed if counts[_plain(one)] > 1]
    if twice:
        raise ValueError(
            f"The classes of {name} are in another order than the classifier's, and the classifier "
            f"has more than one by the name of {_listed(twice)}, so that their labels cannot be "
            f"told. Give its classes names that differ. Received: classes {_listed(found)}"
        )
    return np.array([places.get(one, -1) for one in theirs], "int64")


def _numbered(names: list[str], others: list[str]) -> bool:
    """Whether names only count, where the others say something."""
    return names == [str(number) for number in range(len(names))] and not any(
        other.isdecimal() for other in others
    )


def _plain(name: str) -> str:
    # Some file systems take the names of folders apart: letter and accent.
    return unicodedata.normalize("NFC", str(name))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(str(name)) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
