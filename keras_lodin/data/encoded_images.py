"""Image files and their bytes: what stands in the way of decoding them."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from keras_lodin.data import readers
from keras_lodin.data.image_size import too_large
from keras_lodin.data.unreadable_image_error import UnreadableImageError
from keras_lodin.utils.tensor import Tensor


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """The content of an image file, unless it is not to be decoded.

    Raises:
        UnreadableImageError: with the reason: it cannot be opened, is empty, or has more pixels
            than are taken for safe.
    """
    try:
        with open(path, "rb") as file:
            return _checked(file)
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from error


def checked_image(encoded: bytes) -> bytes:
    """The bytes of an image as they are, unless they are not to be decoded.

    Raises:
        UnreadableImageError: as `read_image_file`.
    """
    return _checked(io.BytesIO(encoded))


def decode_image(encoded: bytes) -> Tensor:
    """The pixels of an image that was checked: uint8, shape (height, width, channels).

    Raises:
        UnreadableImageError: with what the decoder says of it.
    """
    try:
        return readers.READER.decoded(encoded)
    except ValueError as error:
        raise UnreadableImageError(
            f"not a complete PNG, JPEG, BMP or GIF image ({error})"
        ) from error


def _checked(file: BinaryIO) -> bytes:
    problem = too_large(file)
    if problem is not None:
        raise UnreadableImageError(problem)
    encoded = file.read()
    if not encoded:
        raise UnreadableImageError("the file is empty")
    return encoded
