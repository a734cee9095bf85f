"""The data sets of an evaluation: what counts as in-distribution, what does not, and its groups."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DataSets:
    """Data by name, each name once.

    Attributes:
        id_name: the name of the in-distribution (ID) data.
        shifted: names of the covariate-shifted data of known classes, which are ID as well.
        groups: name of each out-of-distribution (OOD) set -> the group that it belongs to, or None.
        by_name: name -> data: the ID data, then the shifted, then the OOD sets.
    """

    id_name: str
    shifted: tuple[str, ...]
    groups: dict[str, str | None]
    by_name: dict[str, object]

    @property
    def in_distribution(self) -> tuple[str, ...]:
        """The names of all data of known classes, those without a shift first."""
        return self.id_name, *self.shifted

    @property
    def spectra(self) -> dict[bool, tuple[str, ...]]:
        """What counts as ID without (False) and, where there are shifted data, with them (True)."""
        return {False: (self.id_name,), **({True: self.in_distribution} if self.shifted else {})}


def data_sets(
    id_name: str,
    id_data: object,
    ood_data: Mapping[str, object],
    shifted: Mapping[str, object],
    input_names: Collection[str] = (),
) -> DataSets:
    """Puts the data of an evaluation in order.

    Args:
        id_name: name of the ID data.
        id_data: the ID data.
        ood_data: name -> OOD data, or group -> (name -> OOD data).
        shifted: name -> shifted data.
        input_names: what the classifiers call their inputs. A dict whose one key is such a name is
            data, as Keras takes it, and no group.

    Raises:
        ValueError: for a group without data sets, or a name that is given twice.
    """
    groups: dict[str, str | None] = {}
    by_name = {id_name: id_data, **shifted}
    if id_name in shifted:
        raise ValueError(
            "The shifted data are scored beside the data without a shift: give them another name "
            f"in `shifted`. Received: id_name={id_name!r}, which is also in `shifted`"
        )
    for group, name, data in _single(ood_data, input_names):
        if name == id_name:
            raise ValueError(
                "In- and out-of-distribution data must have different names. Take it out of "
                "`ood_data` (--ood) if it is the same data, else pass another `id_name`. "
                f"Received: id_name={id_name!r}, which is also in `ood_data`"
            )
        if name in by_name:
            raise ValueError(
                "Every data set must have a name of its own, whatever its group. "
                f"Received: {name!r} twice in `ood_data`"
                + (" and `shifted`" if name in shifted else "")
            )
        groups[name], by_name[name] = group, data
    return DataSets(id_name, tuple(shifted), groups, by_name)


def _single(
    ood_data: Mapping[str, object], input_names: Collection[str]
) -> list[tuple[str | None, str, object]]:
    """Group (None where there is none), name and data of each OOD set."""
    found: list[tuple[str | None, str, object]] = []
    for name, value in ood_data.items():
        if not isinstance(value, Mapping) or (len(value) == 1 and set(value) <= set(input_names)):
            found.append((None, name, value))
        elif value:
            found += [(name, inner, data) for inner, data in value.items()]
        else:
            raise ValueError(
                "A group must hold at least one data set, by a name of your choice. "
                f"Received: ood_data[{name!r}]={value!r}"
            )
    return found
