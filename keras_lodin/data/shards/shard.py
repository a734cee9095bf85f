"""A part of what is to be scored: what one worker does in one go."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

from keras_lodin.data.unreadable_image_error import UnreadableImageError


@dataclass(frozen=True)
class PlanSummary:
    """What every shard knows of the plan that it is from: enough to tell it from another plan.

    Attributes:
        inputs: what was given, the first of them where there are many.
        shard_size: how many images a shard has at most.
        shards: how many there are.
        images: of all shards together, those that will turn out unreadable included.
        sha256: digest of what the shards are of: places, sizes of files, numbers of rows.
    """

    inputs: tuple[str, ...]
    shard_size: int
    shards: int
    images: int
    sha256: str


@dataclass(frozen=True)
class Shard(ABC):
    """Some of the images of a plan, in a fixed order. It can be sent to another process.

    Get shards from `keras_lodin.plan`.

    Attributes:
        count: how many images there are, those that will turn out unreadable included.
        name: of the files of its results: its number in the plan, in five digits or more.
        plan: what is known of the whole plan.
        natural_shape: height, width and channels of the first readable image of the plan, which
            count where a classifier leaves sizes open.
        folder: the working folder that relative names were given in.
    """

    count: int
    name: str = field(default="", kw_only=True)
    plan: PlanSummary | None = field(default=None, kw_only=True)
    natural_shape: tuple[int, int, int] | None = field(default=None, kw_only=True)
    folder: str = field(default_factory=os.getcwd, kw_only=True)

    @property
    @abstractmethod
    def label(self) -> str:
        """What a person would call it: where its images are."""

    @abstractmethod
    def identity(self) -> tuple[object, ...]:
        """What is the same as long as its images are, as far as can be told without reading them.

        Raises:
            OSError: if they are not there.
        """


@dataclass(frozen=True)
class EncodedShard(Shard):
    """A shard of encoded images: PNG, JPEG, BMP or GIF files, wherever they are stored."""

    @abstractmethod
    def records(self) -> Iterator[tuple[str, bytes | UnreadableImageError]]:
        """The key of each image, and its bytes or why there are none.

        Raises:
            ValueError: if what the images are stored in is damaged.
            OSError: if it cannot be read.
        """
