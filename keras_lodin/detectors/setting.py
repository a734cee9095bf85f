"""A hyper-parameter of a score, as an attribute of its detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

from typing_extensions import Self


class Setting:
    """A number that a score depends on and that can be tuned, declared in the detector's class.

    Setting it checks it and forgets threshold and p-values, which belonged to other scores. It is
    built into graphs: `predict` makes its own anew, and a functional model that the detector was
    composed into before keeps the old value.

    Args:
        check: `(name, value) -> value`, raises for what it cannot be.
        candidates: values for `tune` to try, the default among them.

    Example:
    ```python
    class MyDetector(TunableDetector):
        power = Setting(checked_fraction, candidates=(0.1, 0.3, 0.5))
    ```
    """

    def __init__(self, check: Callable[[str, Any], Any], candidates: Sequence[Any]) -> None:
        self.check, self.candidates = check, tuple(candidates)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, detector: None, owner: type) -> Self: ...
    @overload
    def __get__(self, detector: object, owner: type) -> Any: ...
    def __get__(self, detector: object | None, owner: type) -> Any:
        if detector is None:
            return self
        try:
            return vars(detector)[f"_{self.name}"]
        except KeyError:  # as of any attribute, for Keras, which looks before it sets one
            raise AttributeError(self.name) from None

    def __set__(self, detector: Any, value: object) -> None:
        checked = self.check(self.name, value)
        detector.check_setting(self.name, checked)
        vars(detector)[f"_{self.name}"] = checked
        detector.settings_changed()
