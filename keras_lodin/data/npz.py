"""`npz:PATH`: arrays saved with `numpy.savez`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_lodin.data.arrays import array_source
from keras_lodin.data.batches import check_finite, check_images, integer_labels
from keras_lodin.data.pipeline import pixel_transform, resolve_shapes
from keras_lodin.data.slices import select
from keras_lodin.data.source import Source


def load_npz(
    name: str,
    path: str,
    slice_text: str | None,
    *,
    image_shape: tuple[int | None, ...] | None,
    input_range: tuple[float, float],
) -> Source:
    """Loads the arrays `x` (or `images`) and, if there, `y` (or `labels`) of an .npz file.

    Arrays of uint8 are images with values 0..255, of shape (count, height, width), (count, height,
    width, 1) or (count, height, width, 3): they are resized, turned to the classifier's channels
    and scaled as those of every other source. All other arrays, of any rank, are used exactly as
    they are, as float32.

    Args:
        name: The specification.
        path: Path of the file.
        slice_text: Which examples: see `keras_lodin.data.slices.select`. Without a slice every
            part is the whole file.
        image_shape: Shape of one example, or `None` for that of the array.
        input_range: Where the values 0 and 255 of images go. Of arrays used as they are, the
            source's `input_range` is the smallest and the largest value found.

    Returns:
        A `Source`, labelled if the file has labels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no .npz file, or its arrays are not as said above.
    """
    arrays = _read_arrays(Path(path))
    x = _pick(arrays, ("x", "images"))
    if x is None:
        raise ValueError(
            f"{path} must hold an array named `x` or `images`, as `np.savez(path, x=x, y=y)` "
            "writes it. "
            f"Received: arrays named {', '.join(map(repr, sorted(arrays))) or 'nothing'}"
        )
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"There is no example in {path}. Received: x of shape {x.shape}")
    if x.dtype == np.bool_ or not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
        raise ValueError(f"{path} must hold real numbers. Received: x of type {x.dtype}")
    check_finite(x, path)
    y = _pick(arrays, ("y", "labels"))
    if y is not None:
        y = integer_labels(y, len(x), path)

    chosen = select(name, len(x), slice_text)
    if slice_text is not None:
        x, y = x[chosen], None if y is None else y[chosen]
    if x.dtype == np.uint8:
        x = _with_channels(x, path)
        shapes = resolve_shapes(name, x.shape[1:], image_shape)
        transform, shape = pixel_transform(shapes, input_range), shapes[1]
    else:
        x = x.astype("float32", copy=False)
        shape = x.shape[1:]
        check_images(x, shape if image_shape is None else image_shape)
        transform, input_range = tf.identity, (float(x.min()), float(x.max()))
    return array_source(
        name,
        x,
        y,
        transform,
        shape=shape,
        input_range=input_range,
        scaled=transform is not tf.identity,
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no .npz file at that path. Received: path={path}")
    try:
        # Opened here: numpy would leave a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a file of plain arrays as numpy.savez writes it. Received: {error}"
        ) from error


def _pick(arrays: dict[str, np.ndarray], keys: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[key] for key in keys if key in arrays), None)


def _with_channels(x: np.ndarray, path: str) -> np.ndarray:
    if x.ndim == 3:
        return x[..., None]
    if x.ndim != 4 or x.shape[3] not in (1, 3):
        raise ValueError(
            f"Arrays of uint8 in {path} are taken for images and must have the shape (count, "
            "height, width), (count, height, width, 1) or (count, height, width, 3); save anything "
            f"else as float32. Received: x of shape {x.shape}"
        )
    return x
