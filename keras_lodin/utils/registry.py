"""What there is by name: the one way in which everything that has a name is found."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from typing import TypeVar, cast

T = TypeVar("T")
Registered = TypeVar("Registered")


class Registry(dict[str, T]):
    """Things of one kind by their names. Each enters itself, in the file that it is written in.

    In order: what has a position, then all else by name.

    Args:
        what: what the names are names of, for messages.
        hint: what messages say beside the names.

    Example:
    ```python
    DETECTORS = Registry("detector")

    @DETECTORS.register("margin", description="the lead of the largest logit")
    class MarginDetector(Detector): ...

    DETECTORS.find("margim")    # ValueError: ... Did you mean 'margin'?
    ```
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__()
        self._what, self._hint = what, hint
        self._positions: dict[str, tuple[float, str]] = {}
        self._descriptions: dict[str, str] = {}

    def register(
        self, *names: str, description: str = "", position: float = math.inf
    ) -> Callable[[Registered], Registered]:
        """A decorator that enters what it decorates.

        Args:
            names: what it is called.
            description: one line for those who choose among the names.
            position: its place among those that have one; without, it comes after them.

        Raises:
            ValueError: for a name that something else has already. The same class or function,
                defined again as in a notebook, takes the place of the one before.
        """

        def enter(value: Registered) -> Registered:
            for name in names:
                if name in self and _place(self[name]) != _place(value):
                    raise ValueError(
                        f"There is a {self._what} of that name already, {self[name]!r}. Choose "
                        f"another. Received: name={name!r}"
                    )
                self[name] = cast(T, value)
                self._positions[name] = (position, name)
                self._descriptions[name] = description
            for name in sorted(self, key=lambda key: self._positions.get(key, (math.inf, key))):
                self[name] = self.pop(name)
            return value

        return enter

    def find(self, name: str, argument: str = "name", received: object = None) -> T:
        """What has a name.

        Args:
            name: the name.
            argument: what the caller's user calls it, for the message.
            received: what that user wrote, where the name is a part of it.

        Raises:
            ValueError: if nothing has it. The message has all names, and the nearest ones.
        """
        if name in self:
            return self[name]
        given = name if received is None else received
        raise ValueError(
            f"The {self._what} must be one of {', '.join(self)}{self._hint}."
            f"{did_you_mean(name, self)} Received: {argument}={given!r}"
        )

    def description(self, name: str) -> str:
        """The line that something registered itself with."""
        return self._descriptions.get(name, "")


def _place(value: object) -> tuple[object, ...]:
    """Where something is defined; itself, where that is not told."""
    if hasattr(value, "__qualname__"):
        return value.__module__, value.__qualname__
    return (id(value),)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question, after a space, for the known names that an unknown one is nearest to; else ""."""
    near = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
