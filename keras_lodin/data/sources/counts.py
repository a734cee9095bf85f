"""How many examples are made, of sources that can make any number."""

from __future__ import annotations

import re

_DEFAULT = 1000
# More made-up examples than anyone scores: a count with a few zeros too many.
LARGEST_COUNT = 10_000_000


def parse_count(text: str) -> int:
    """The count that a specification ends in, 1000 where it is empty.

    Raises:
        ValueError: if it is no whole number from 1 to `LARGEST_COUNT`.
    """
    if not text:
        return _DEFAULT
    if not re.fullmatch(r"[1-9]\d*", text, re.ASCII) or int(text) > LARGEST_COUNT:
        raise ValueError(
            f"The count {text!r} is not a positive whole number, {LARGEST_COUNT} at most."
        )
    return int(text)
