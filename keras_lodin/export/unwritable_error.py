"""How a rule says that it cannot write an operation."""

from __future__ import annotations


class UnwritableError(Exception):
    """A format has nothing to write an operation with; the message is the reason, in a few words.

    Not `NotImplementedError`: TensorFlow raises that of itself, where a rule has a mistake.
    """
