"""`digits`: the handwritten digits that come with scikit-learn (UCI optdigits test set)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from keras_lodin.data import readers
from keras_lodin.data.named_source import SOURCES, NamedSource, Request
from keras_lodin.data.pipeline import pixel_transform, resolve_shapes
from keras_lodin.data.source import Source
from keras_lodin.data.sources.arrays import array_source

_NATURAL_SHAPE = (8, 8, 1)
_LARGEST_VALUE = 16.0
# The parts are the same in every run, whatever its seed: nothing tested was ever trained on.
_SPLIT_SEED = 0


@SOURCES.register(
    "digits",
    description="digits[:CLASSES]: scikit-learn's handwritten digits; digits:0-6, digits:1,3,5",
    position=1,
)
@dataclass(frozen=True)
class Digits(NamedSource):
    """Some of the ten digits: 1,797 grey images of 8x8 pixels, values 0..16.

    The part "train" has 60 % of every class, "calibration" and "test" 20 % each. Without an
    `image_shape` examples are of shape (8, 8, 1).

    Args:
        classes: The digits wanted, ascending. Their labels are 0 .. len(classes) - 1.
    """

    classes: tuple[int, ...]

    @classmethod
    def parse(cls, argument: str) -> Digits:
        """Digits and ranges of them."""
        classes: set[int] = set()
        for item in argument.split(",") if argument else ["0-9"]:
            match = re.fullmatch(r"([0-9])(?:-([0-9]))?", item.strip())
            if not match:
                raise ValueError(
                    f"{item!r} is not a digit 0 to 9 nor a range of digits such as 0-6."
                )
            first, last = int(match[1]), int(match[2] or match[1])
            if first > last:
                raise ValueError(f"The range {item!r} runs backwards.")
            classes.update(range(first, last + 1))
        return cls(tuple(sorted(classes)))

    def overlaps(self, other: Digits, whole: bool) -> bool:
        """Whether the classes are the same; or, unless all is asked for, one of them is."""
        return self == other if whole else not set(self.classes).isdisjoint(other.classes)

    def load(self, request: Request) -> Source:
        """A labelled `Source`."""
        # scikit-learn is imported where it is needed, so that importing the package stays fast.
        from sklearn.datasets import load_digits as load_all

        images, digits = load_all(return_X_y=True)
        chosen = _part_indices(digits, request.part)
        chosen = chosen[np.isin(digits[chosen], self.classes)]
        shapes = resolve_shapes(request.name, _NATURAL_SHAPE, request.image_shape)
        return array_source(
            request.name,
            images[chosen].reshape(-1, *_NATURAL_SHAPE).astype("float32"),
            np.searchsorted(self.classes, digits[chosen]),
            pixel_transform(readers.READER, shapes, request.input_range, _LARGEST_VALUE),
            shape=shapes[1],
            input_range=request.input_range,
            class_names=tuple(map(str, self.classes)),
        )


def _part_indices(digits: np.ndarray, part: str) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    everything = np.arange(len(digits))
    if part == "all":
        return everything
    train, rest = train_test_split(
        everything, train_size=0.6, stratify=digits, random_state=_SPLIT_SEED
    )
    calibration, test = train_test_split(
        rest, train_size=0.5, stratify=digits[rest], random_state=_SPLIT_SEED
    )
    return {"train": train, "calibration": calibration, "test": test}[part]
