"""Data by name: one function from a specification such as `digits:0-6` to a `Source`."""

from __future__ import annotations

import os
from collections.abc import Iterable

from numpy.typing import ArrayLike

from keras_lodin.data.identity import difference as difference
from keras_lodin.data.identity import files_identity as files_identity
from keras_lodin.data.identity import identity as identity
from keras_lodin.data.named_source import NamedSource as NamedSource
from keras_lodin.data.named_source import Request as Request
from keras_lodin.data.source import Source as Source
from keras_lodin.data.sources import SOURCES as SOURCES
from keras_lodin.data.specification import members as members
from keras_lodin.data.specification import missing as missing
from keras_lodin.data.specification import parse
from keras_lodin.data.value_range import checked_input_range

PARTS = ("train", "calibration", "test", "all")


def names() -> tuple[str, ...]:
    """The kinds of data sources; `SOURCES` says how each is written."""
    return tuple(SOURCES)


def load(
    specification: str,
    *,
    part: str,
    image_shape: tuple[int | None, ...] | None = None,
    input_range: Iterable[ArrayLike] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Source:
    """Finds data by name.

    Args:
        specification: What to load, in the language that `SOURCES` describes.
        part: `"train"`, `"calibration"`, `"test"` or `"all"`. Digits, photos, noise and TensorFlow
            datasets without a named split have parts that share no example. A named split, a
            folder and an .npz file are taken whole whatever the part: cut them with slices such as
            `[:80%]` and `[80%:]`.
        image_shape: Per-example shape that the classifier takes, e.g. `model.input_shape[1:]`;
            unknown dimensions, and `None`, keep the natural size.
        input_range: `(lo, hi)`, where the darkest and the brightest value of images go;
            `None` for (0, 1). Two numbers, or two arrays with one for each feature. Arrays of
            floats are used exactly as they are.
        data_dir: Folder of the TensorFlow datasets, or of OpenOOD's data.
        seed: Seed of the draw of photos and noise.

    Returns:
        A `Source`.

    Raises:
        ValueError: If the specification or the data are not as they must be.
        FileNotFoundError: If a file or folder is missing.

    Example:
    ```python
    source = keras_lodin.data.load("digits:0-6", part="test", image_shape=(28, 28, 1))
    model.predict(source.batches())
    ```
    """
    if part not in PARTS:
        raise ValueError(
            f"`part` must be one of {', '.join(map(repr, PARTS))}. Received: part={part!r}"
        )
    shape = None if image_shape is None else tuple(image_shape)
    bounds = checked_input_range((0, 1) if input_range is None else input_range)
    request = Request(specification, part, shape, bounds, data_dir, seed)
    return parse(specification).load(request)
