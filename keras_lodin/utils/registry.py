"""What a person may have meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Proposes the known names that an unknown one is nearest to.

    Args:
        name: The unknown name.
        known: The names there are.

    Returns:
        A question that begins with a space, or `""` where nothing is near.
    """
    near = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
