"""Image files by Pillow, with the pixels that TensorFlow decodes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from keras_lodin.data.readers.jpeg_files import jpeg_pixels

# WebP is promised nowhere, but TensorFlow decodes it too.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
# What there is of a BMP file: one byte a pixel, taken for grey whatever its palette, three or four.
_BMP_BITS = (8, 24, 32)
_BMP_BITS_PLACE = 28


def decoded(encoded: bytes) -> np.ndarray:
    """The pixels of a PNG, JPEG or BMP file or of a GIF's first frame.

    Returns:
        uint8 of shape (height, width, channels), 1 to 4 of them.

    Raises:
        ValueError: with the reason, if it is none or damaged.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            pixels = _pixels(image, encoded)
        return pixels if pixels.ndim == 3 else pixels[:, :, None]
    except UnidentifiedImageError:
        reason = "its header is of none of them"
    # What a damaged file can raise is not listed anywhere.
    except Exception as error:
        reason = str(error) or type(error).__name__
    raise ValueError(reason)


def _pixels(image: ImageFile, encoded: bytes) -> np.ndarray:
    if isinstance(image, JpegImageFile):
        return jpeg_pixels(image)
    if image.format == "BMP":
        bits = int.from_bytes(encoded[_BMP_BITS_PLACE : _BMP_BITS_PLACE + 2], "little")
        if bits not in _BMP_BITS:
            raise OSError(f"a BMP file of {bits} bits per pixel")
        if image.mode == "P":
            return np.asarray(image)
    if image.mode.startswith("I"):  # Grey of 16 bits, of which the upper eight stay.
        return (np.asarray(image) >> 8).astype("uint8")
    if image.format == "GIF":
        # The frame alone, which may be a part of the picture, with black where it lets through.
        left, top, right, bottom = image.tile[0].extents or (0, 0, *image.size)
        colours = np.array(image.convert("RGB"))
        if image.mode == "P" and "transparency" in image.info:
            colours[np.asarray(image) == image.info["transparency"]] = 0
        return colours[top:bottom, left:right]
    if image.format == "PNG" and b"IEND" not in encoded:
        raise OSError("the file ends early")
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return np.asarray(image)
    if image.mode == "P" and "transparency" in image.info:
        # As RGB Pillow warns of what is lost, which nobody who scores images can change.
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image.convert("L" if image.mode == "1" else "RGB"))


def png_size(pixels: np.ndarray) -> int:
    """Bytes of an image as a PNG file: uint8 of shape (height, width, channels), 1 to 4 of them."""
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(
        file, "PNG", optimize=True
    )
    return file.tell()
