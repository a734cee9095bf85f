"""`dir:PATH`: a folder of images, or of one folder of images per class."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_lodin.data import readers
from keras_lodin.data.encoded_images import decode_image, read_image_file
from keras_lodin.data.named_source import SOURCES, Request
from keras_lodin.data.pipeline import pixel_transform, resolve_shapes, to_channels
from keras_lodin.data.source import Source
from keras_lodin.data.sources.slices import SlicedPath, select
from keras_lodin.data.unreadable_image_error import UnreadableImageError
from keras_lodin.data.value_range import Bounds
from keras_lodin.utils.tensor import Tensor

# Files with these endings are meant as images: those that cannot be read are reported.
_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif"),
    *(".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".ppm", ".pgm"),
}
# What macOS puts into archives, Windows into folders, and a network drive beside images.
_SYSTEM_NAMES = {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"}
# First bytes of PNG, JPEG, BMP and GIF files.
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8")


@SOURCES.register(
    "dir",
    description="dir:PATH[SLICE]: a folder of images, or of one folder per class; dir:images[:80%]",
    position=4,
)
class Folder(SlicedPath):
    """The images of a folder, in the order of their paths.

    PNG, JPEG, BMP and GIF (its first frame) are told by content, not by name.
    A file counts as an image if its name ends like one or its first bytes say so; other files and
    hidden ones are passed over. Images in sub-folders are labelled with the sub-folder, in sorted
    order, at any depth below it. An image that cannot be read is skipped and remembered in
    `source.skipped`. Orientation tags are ignored, as TensorFlow ignores them.

    Without an `image_shape` images are brought to that of the first readable one.
    """

    @property
    def folder(self) -> str:
        """The folder: plots in it would become images of it."""
        return self.path

    def digest(self) -> str:
        """Of the images' names and sizes, because reading them all takes long."""
        digest = hashlib.sha256()
        for path in list_images(self.path):
            name = os.fsencode(os.path.relpath(path, self.path))
            digest.update(b"%s\0%d\0" % (name, os.path.getsize(path)))
        return digest.hexdigest()

    def load(self, request: Request) -> Source:
        """A `Source`, labelled if the images are in sub-folders.

        Its `count` is `None`: only reading tells which images are readable.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If it holds no images, none that can be read, or images both in sub-folders
                and beside them.
        """
        paths, labels, class_names, chosen = self._listed(request.name)
        # The first of the whole folder: all its slices have the same natural shape.
        natural = _first_shape(request.name, paths)
        return _images(
            request.name,
            [paths[index] for index in chosen],
            None if class_names is None else [labels[index] for index in chosen],
            class_names,
            resolve_shapes(request.name, natural, request.image_shape),
            request.input_range,
        )

    def chosen(self, name: str) -> list[str]:
        """The paths of the images, or of those in the slice.

        Args:
            name: the specification, for messages.

        Raises:
            FileNotFoundError: if there is no such folder.
            ValueError: as `load`.
        """
        paths, _, _, chosen = self._listed(name)
        return [paths[index] for index in chosen]

    def _listed(self, name: str) -> tuple[list[str], list[int], tuple[str, ...] | None, np.ndarray]:
        """Paths, labels, class names, and the places of those in the slice."""
        folder = Path(self.path)
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise FileNotFoundError(
                f"{self.path} {what}. Expected a folder of images. Received: {name!r}"
            )
        paths, labels, class_names = _list_images(folder)
        return paths, labels, class_names, select(name, len(paths), self.slice_text)


def load_images(
    paths: list[str],
    *,
    image_shape: tuple[int | None, ...] | None,
    input_range: Bounds,
    name: str = "the files given",
    labels: list[int] | None = None,
) -> Source:
    """Loads image files, in the order given; reads them as `Folder` does.

    Args:
        paths: Paths of the files.
        image_shape: Shape of one example, or `None` for that of the first readable image.
        input_range: Where the values 0 and 255 go.
        name: What the source is called.
        labels: The label of each file, or `None`.

    Returns:
        A `Source`, without names of classes.

    Raises:
        ValueError: If none of the files can be read.
    """
    shapes = resolve_shapes(name, _first_shape(name, paths), image_shape)
    return _images(name, paths, labels, None, shapes, input_range)


def list_images(folder: str) -> list[str]:
    """The image files of a folder at any depth, by name or content, in the order of their paths."""
    return [path for path in visible_files(folder) if is_image(path)]


def visible_files(folder: str) -> Iterator[str]:
    """The files of a folder at any depth, in the order of their paths, without hidden ones.

    No more is held than the names in the folders on the way down. Links to folders are not
    followed, and folders that may not be opened are passed over.
    """
    with contextlib.suppress(PermissionError):
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from visible_files(entry.path)
            elif entry.is_file():
                yield str(Path(entry.path))


def _images(
    name: str,
    paths: list[str],
    labels: list[int] | None,
    class_names: tuple[str, ...] | None,
    shapes: tuple[tuple[int, int, int], tuple[int, ...]],
    input_range: Bounds,
) -> Source:
    channels = shapes[0][2]
    reader = readers.READER
    transform = pixel_transform(reader, shapes, input_range)
    unreadable: dict[str, str] = {}

    def read(path: bytes) -> Tensor | None:
        pixels = _read_image(os.fsdecode(path), unreadable)
        return None if pixels is None else to_channels(reader, pixels, channels)

    columns = [np.array([os.fsencode(path) for path in paths])]
    if labels is not None:
        columns.append(np.array(labels, "int64"))
    return Source(
        name,
        reader.Dataset.from_tensor_slices(tuple(columns)),
        lambda records: reader.read_files(records, read, channels, transform),
        shape=shapes[1],
        input_range=input_range,
        count=None,
        labelled=labels is not None,
        class_names=class_names,
        empty_classes=[
            one for label, one in enumerate(class_names or ()) if label not in set(labels or ())
        ],
        unreadable=unreadable,
    )


def _list_images(folder: Path) -> tuple[list[str], list[int], tuple[str, ...] | None]:
    """Lists paths, labels and class names; the latter two are empty and None without classes."""
    visible = sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
    loose = [str(entry) for entry in visible if entry.is_file() and is_image(str(entry))]
    class_folders = [entry for entry in visible if entry.is_dir()]
    members = [
        (path, label)
        for label, class_folder in enumerate(class_folders)
        for path in list_images(str(class_folder))
    ]
    if loose and members:
        raise ValueError(
            f"The folder {folder} holds images both beside its sub-folders and in them, so it is "
            "unclear whether the sub-folders are classes. Move the ones or the others away. "
            f"Received: {loose[0]} and {members[0][0]}"
        )
    if members:
        paths, labels = zip(*members, strict=True)
        return list(paths), list(labels), tuple(entry.name for entry in class_folders)
    if not loose:
        there = f"holds other things, such as {visible[0].name!r}" if visible else "is empty"
        raise ValueError(
            f"There are no images (PNG, JPEG, BMP or GIF) in the folder {folder}, which {there}. "
            f"Received: path={str(folder)!r}"
        )
    return loose, [], None


def is_hidden(name: str) -> bool:
    """Whether a file or folder is no one's own: hidden, or left by a system or its archiver."""
    return name.startswith(".") or name in _SYSTEM_NAMES


def is_image(path: str) -> bool:
    """Whether a file counts as an image: by the end of its name, or else by its first bytes."""
    if os.path.splitext(path)[1].lower() in _SUFFIXES:
        return True
    try:
        with open(path, "rb") as file:
            return is_image_content(file.read(8))
    except OSError:
        return False


def is_image_content(content: bytes) -> bool:
    """Whether bytes begin as those of a PNG, JPEG, BMP or GIF file."""
    return content.startswith(_MAGIC)


def _first_shape(name: str, paths: list[str]) -> tuple[int, int, int]:
    unreadable: dict[str, str] = {}
    for path in paths:
        pixels = _read_image(path, unreadable)
        if pixels is not None:
            height, width, stored = pixels.shape
            return height, width, 1 if stored < 3 else 3
    raise ValueError(
        f"No image of {name} can be read, of {len(paths)} in all. "
        f"Received: first {paths[0]}: {unreadable[paths[0]]}"
    )


def _read_image(path: str, unreadable: dict[str, str]) -> Tensor | None:
    """Decodes an image to uint8, or notes in `unreadable` why that is impossible."""
    try:
        return decode_image(read_image_file(path))
    except UnreadableImageError as error:
        unreadable[path] = str(error)
    return None
