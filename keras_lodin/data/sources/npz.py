"""`npz:PATH`: arrays saved with `numpy.savez`."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import numpy as np

from keras_lodin.data import readers
from keras_lodin.data.batches import check_finite, check_images, integer_labels
from keras_lodin.data.named_source import SOURCES, Request
from keras_lodin.data.pipeline import pixel_transform, resolve_shapes
from keras_lodin.data.source import Source
from keras_lodin.data.sources.arrays import array_source
from keras_lodin.data.sources.slices import SlicedPath, select
from keras_lodin.utils.files import file_digest

# How a file of one array begins, which numpy's `load` reads as well.
_SINGLE_ARRAY = b"\x93NUMPY"


@SOURCES.register(
    "npz",
    description="npz:PATH[SLICE]: arrays x (or images, features) and y (or labels); "
    "npz:data.npz[80%:]",
    position=5,
)
class NPZFile(SlicedPath):
    """The arrays `x` (or `images` or `features`) and, if there, `y` (or `labels`) of an .npz file.

    `features` are those that `keras-lodin features` writes, for the classifier that it makes of a
    network's last layer; the logits beside them are computed from them again.

    Arrays of uint8 are images with values 0..255, of shape (count, height, width), (count, height,
    width, 1) or (count, height, width, 3): they are resized, turned to the classifier's channels
    and scaled as those of every other source. All other arrays, of any rank, are used exactly as
    they are, as float32: the source's `input_range` is then the smallest and the largest value.
    """

    def digest(self) -> str:
        """Of the file's content."""
        return file_digest(self.path)

    def load(self, request: Request) -> Source:
        """A `Source`, labelled if the file has labels.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is no .npz file, or its arrays are not as said above.
        """
        path, image_shape, input_range = self.path, request.image_shape, request.input_range
        arrays = _read_arrays(Path(path))
        x, y = arrays["x"], arrays.get("y")
        if x.ndim == 0 or x.size == 0:
            raise ValueError(
                f"There is no example in {path}, or no value in its examples. "
                f"Received: x of shape {x.shape}"
            )
        if x.dtype == np.bool_ or not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
            raise ValueError(f"{path} must hold real numbers. Received: x of type {x.dtype}")
        check_finite(x, path)
        if y is not None:
            y = integer_labels(y, len(x), path)

        chosen = select(request.name, len(x), self.slice_text)
        if self.slice_text is not None:
            x, y = x[chosen], None if y is None else y[chosen]
        is_image = x.dtype == np.uint8
        transform = None
        if is_image:
            x = _with_channels(x, path)
            shapes = resolve_shapes(request.name, x.shape[1:], image_shape)
            transform, shape = pixel_transform(readers.READER, shapes, input_range), shapes[1]
        else:
            with np.errstate(over="ignore"):
                x = x.astype("float32", copy=False)
            check_finite(x, f"{path} in float32")
            shape = x.shape[1:]
            check_images(x, shape if image_shape is None else image_shape)
            input_range = (float(x.min()), float(x.max()))
        return array_source(
            request.name,
            x,
            y,
            transform,
            shape=shape,
            input_range=input_range,
            scaled=is_image,
        )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays `x` and, if there, `y` of a file."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no .npz file at that path. Received: path={path}")
    try:
        with path.open("rb") as stream:
            is_single = stream.read(len(_SINGLE_ARRAY)) == _SINGLE_ARRAY
        if is_single:
            raise zipfile.BadZipFile(
                "a single array, as np.save writes it; np.savez(path, x=x) names it"
            )
        with zipfile.ZipFile(path) as archive:
            members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            found = {
                key: next((name for name in names if name in members), None)
                for key, names in (("x", ("x", "images", "features")), ("y", ("y", "labels")))
            }
            if found["x"] is not None:
                return {
                    key: _read_array(archive, members[name])
                    for key, name in found.items()
                    if name is not None
                }
    except Exception as error:  # what a damaged archive can raise is not listed anywhere
        raise ValueError(
            f"{path} is not a file of plain arrays as numpy.savez writes it. "
            f"Received: {error or type(error).__name__}"
        ) from error
    raise ValueError(
        f"{path} must hold an array named `x`, `images` or `features`, as "
        "`np.savez(path, x=x, y=y)` writes it. "
        f"Received: arrays named {', '.join(map(repr, sorted(members))) or 'nothing'}"
    )


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    # Before anything is unfolded: a small file can name an array that fills any memory.
    memory = _memory()
    if member.file_size > memory:
        raise zipfile.BadZipFile(
            f"the array {member.filename!r} of {member.file_size} bytes, where at most {memory}, "
            "this machine's memory, can be read"
        )
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        # The archive's checksum is looked at where the member ends.
        if stream.read(1):
            raise zipfile.BadZipFile(f"bytes behind the end of the array {member.filename!r}")
    return array


def _memory() -> int:
    """Bytes of memory that the machine has, as far as it says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return sys.maxsize


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
