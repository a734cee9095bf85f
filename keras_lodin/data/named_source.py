"""What a specification names, before anything of it is loaded."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeVar

from keras_lodin.data.source import Source
from keras_lodin.data.value_range import Bounds
from keras_lodin.utils.registry import Registry

Named = TypeVar("Named", bound="NamedSource")


@dataclass(frozen=True)
class Request:
    """What `keras_lodin.data.load` was asked for.

    Attributes:
        name: the specification, which the source is called by.
        part: "train", "calibration", "test" or "all".
        image_shape: shape of one example; None for the natural one, in whole or in a size.
        input_range: where the smallest and the largest value of images go.
        data_dir: folder of the TensorFlow datasets, or of OpenOOD's data.
        seed: of what is drawn.
    """

    name: str
    part: str
    image_shape: tuple[int | None, ...] | None
    input_range: Bounds
    data_dir: str | os.PathLike[str] | None
    seed: int


class NamedSource(ABC):
    """A data source as it was named. Each kind is a subclass, registered in `SOURCES`.

    Subclasses are frozen dataclasses, whose fields are what follows the kind in a specification.
    """

    @property
    def has_parts(self) -> bool:
        """Whether the parts "train", "calibration" and "test" share no example.

        Otherwise each of them is the whole.
        """
        return True

    @property
    def folder(self) -> str | None:
        """A folder of the data, which results of a job must stay out of; None for others."""
        return None

    @property
    def reads_data_dir(self) -> bool:
        """Whether `load` looks at `data_dir`."""
        return False

    @property
    def members(self) -> tuple[str, ...]:
        """Specifications of the single data sets of a group; empty for a single data set."""
        return ()

    @property
    def group(self) -> str | None:
        """The name of the group that the members are; None for a single data set."""
        return None

    @classmethod
    @abstractmethod
    def parse(cls, argument: str) -> NamedSource:
        """What a specification names.

        Args:
            argument: all behind the first colon of it; empty where there is none.

        Raises:
            ValueError: with a sentence that says what is wrong. How this kind is written, its
                description in `SOURCES`, is added to that.
        """

    @abstractmethod
    def load(self, request: Request) -> Source:
        """The data that are asked for.

        Raises:
            ValueError: if the data are not as they must be.
            OSError: if they are not there.
        """

    def overlaps(self: Named, other: Named, whole: bool) -> bool:
        """Whether other data of this kind are these.

        Args:
            other: of the same class.
            whole: whether only all of the data counts, and not a part of them.
        """
        return self == other

    def missing(self, data_dir: str | os.PathLike[str] | None) -> str | None:
        """A sentence that says why the data cannot be loaded; None where nothing is known of that.

        Args:
            data_dir: folder of the TensorFlow datasets.
        """
        return None

    def digest(self) -> str | None:
        """What changes when files change under this name; None for data that are no files."""
        return None


SOURCES: Registry[type[NamedSource]] = Registry(
    "kind of data source",
    ", as in 'digits:0-6'; a folder of images is 'dir:PATH', a file of arrays 'npz:PATH'",
)
