"""JPEG files by Pillow, to the last bit as TensorFlow decodes them.

Both decode by libjpeg-turbo, but TensorFlow asks for the fast transform and smooth colours, and
Pillow offers the fast transform with coarse ones alone: pixels differ by up to 8 grey levels. So
brightness and colours are taken from Pillow as they are stored, and the colours are made smooth
here, by the whole numbers of libjpeg's `jdsample.c` and `jdcolor.c`.
"""

from __future__ import annotations

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

# Pillow's arguments of the decoder: in full size, by the fast transform.
_FAST = (1, 1)
# What is added in turn before a sum of 2 or 4 bits more is cut, so that halves go either way.
_ROUNDING = {2: (1, 2), 4: (8, 7)}
# Narrower colours are not made smooth.
_NARROW = 2


def jpeg_pixels(image: JpegImageFile) -> np.ndarray:
    """The pixels of a file that was opened: uint8, grey (height, width) or RGB (..., 3).

    Raises:
        OSError: if the file is damaged.
    """
    if image.mode == "CMYK":
        return np.asarray(image.convert("RGB"))
    factors = [(across, down) for _, across, down, _ in image.layer]
    if image.mode == "RGB" and not _holds_rgb(image):
        image.draft("YCbCr", None)
    image.decoderconfig = _FAST
    planes = np.asarray(image)
    if image.mode != "YCbCr":
        return planes
    brightness = planes[..., 0].astype("int32")
    blue, red = (
        _smooth(planes[..., place], factors[0][0] // across, factors[0][1] // down).astype("int32")
        - 128
        for place, (across, down) in enumerate(factors[1:], 1)
    )
    # In units of 2^-16.
    colours = (91881 * red, -22554 * blue - 46802 * red, 116130 * blue)
    pixels = np.empty(planes.shape, "uint8")
    for place, colour in enumerate(colours):
        pixels[..., place] = (brightness + ((colour + 2**15) >> 16)).clip(0, 255)
    return pixels


def _holds_rgb(image: JpegImageFile) -> bool:
    """Whether colours are stored as red, green and blue, by what libjpeg goes by."""
    if "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return image.info["adobe_transform"] == 0
    return bytes(number for number, *_ in image.layer) == b"RGB"


def _smooth(plane: np.ndarray, across: int, down: int) -> np.ndarray:
    """A colour that is stored at half of the pixels or a quarter, between them weighted 3 to 1."""
    if (across, down) not in ((2, 1), (1, 2), (2, 2)):
        return plane
    small = plane[::down, ::across].astype("int16")
    if across == 2 and small.shape[1] <= _NARROW:
        return plane
    sums = small if down == 1 else _doubled(small)
    # The last axis is the one along which rounding takes turns.
    sums = sums.T if across == 1 else _doubled(np.ascontiguousarray(sums.T)).T
    bits = across * down
    sums[:, ::2] += _ROUNDING[bits][0]
    sums[:, 1::2] += _ROUNDING[bits][1]
    sums >>= bits
    sums = sums.T if across == 1 else sums
    return sums[: plane.shape[0], : plane.shape[1]]


def _doubled(values: np.ndarray) -> np.ndarray:
    """Twice as many rows: each three times with the row before it, and with the one behind."""
    doubled = np.repeat(3 * values, 2, axis=0)
    doubled[2::2] += values[:-1]
    doubled[1:-1:2] += values[1:]
    doubled[0] += values[0]
    doubled[-1] += values[-1]
    return doubled
