"""The figures that `evaluate` computes of every detector and out-of-distribution set, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from keras_lodin.utils.registry import Registry

Function = TypeVar("Function", bound=Callable[..., float])


@dataclass(frozen=True)
class Figure:
    """A figure of merit of two arrays of scores.

    Attributes:
        name: its key in results, and the name of its column in CSV files.
        title: what tables call it.
        function: from ID and OOD scores, finite, shapes `(n,)` and `(m,)`, higher = more
            in-distribution, to a fraction from 0 to 1.
        higher_is_better: whether the best is the largest.
        definition: a sentence that says what it means.
        column: heading of its column on a terminal; figures of one heading share the column.
        positive: the class, "id" or "ood", that counts as positive, where results say so.
    """

    name: str
    title: str
    function: Callable[[ArrayLike, ArrayLike], float]
    higher_is_better: bool
    definition: str
    column: str
    positive: str | None


FIGURES: Registry[Figure] = Registry("figure")


def figure(
    name: str,
    title: str,
    definition: str,
    *,
    higher_is_better: bool = True,
    column: str = "",
    positive: str | None = None,
    position: float = float("inf"),
) -> Callable[[Function], Function]:
    """A decorator that makes a function one of the figures of every evaluation.

    Its arguments are what `Figure` has as attributes, the column's heading being the title by
    default, and `position`, its place among the figures; by default after those that have one.

    Raises:
        ValueError: for a name that another figure has.

    Example:
    ```python
    @figure("auroc_gap", "AUROC gap", "What the AUROC lacks to 1.", higher_is_better=False)
    def auroc_gap(id_scores, ood_scores):
        return 1.0 - auroc(id_scores, ood_scores)
    ```
    """

    def enter(function: Function) -> Function:
        described = Figure(
            name, title, function, higher_is_better, definition, column or title, positive
        )
        FIGURES.register(name, description=f"{title}: {definition}", position=position)(described)
        return function

    return enter


def figures_in(rows: Iterable[Mapping[str, Any]]) -> list[Figure]:
    """The figures that all rows of an evaluation have, in order.

    They may have been written where other figures were known.
    """
    rows = list(rows)
    return [known for known in FIGURES.values() if all(known.name in row for row in rows)]
