"""Small files that unfold to gigabytes are told by their headers, before they are decoded."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

# What one pixel takes at most where it is decoded, three channels and a fourth that is dropped.
_BYTES_PER_PIXEL = 4
_HEADER_BYTES = 26
# How files begin, and how and where they write their width and height: PNG, BMP and GIF.
_JPEG, _GIF = b"\xff\xd8\xff", b"GIF8"
_SIZES = ((b"\x89PNG\r\n\x1a\n", ">II", 16), (b"BM", "<ii", 18), (_GIF, "<HH", 6))
# Segments of JPEG files: frames that are decoded, what has no length, and what ends the headers.
_JPEG_FRAMES = (b"\xc0", b"\xc1", b"\xc2", b"\xc9", b"\xca")
_JPEG_ALONE = (b"\x00", b"\x01", *(bytes([number]) for number in range(0xD0, 0xD8)))
_JPEG_ENDS = (b"", b"\xd8", b"\xd9", b"\xda")


def too_large(file: BinaryIO) -> str | None:
    """Why an image is not to be decoded: it has more pixels than Pillow takes for safe.

    The limit is `PIL.Image.MAX_IMAGE_PIXELS`, 89 million pixels; whoever works with larger images
    sets it, or sets it to None for no limit. Of an animated GIF all frames count, because they are
    unfolded to reach the first; no file is read that is larger than such an image without
    compression.

    Args:
        file: a PNG, JPEG, BMP or GIF file, opened or in memory. Its position is at its start
            afterwards.

    Returns:
        the reason; None for all others, those without such a header included.

    Raises:
        OSError: if the file cannot be read.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None:
        return None
    size = file.seek(0, os.SEEK_END)
    if size > _BYTES_PER_PIXEL * limit + 2**20:
        return f"the file has {size:,} bytes, more than an image of {limit:,} pixels takes"
    file.seek(0)
    start = file.read(_HEADER_BYTES)
    width, height = _jpeg_size(file) if start.startswith(_JPEG) else _size(start)
    if width * height > limit:
        return f"it has {width} x {height} pixels, more than the {limit:,} that are taken for safe"
    frames = _gif_frames(file) if start.startswith(_GIF) else None
    file.seek(0)
    # Before the first is drawn, each takes a byte for a pixel.
    if frames is not None and width * height * frames > _BYTES_PER_PIXEL * limit:
        return (
            f"it has {frames} frames of {width} x {height} pixels, more than the {limit:,} pixels "
            "that are taken for safe"
        )
    return None


def _size(start: bytes) -> tuple[int, int]:
    """Width and height as the decoder will read them; nothing where there is no header."""
    if len(start) < _HEADER_BYTES:
        return 0, 0
    # Not through Pillow, which gives up on damage that the decoder passes over.
    for magic, layout, place in _SIZES:
        if start.startswith(magic):
            width, height = struct.unpack_from(layout, start, place)
            return abs(width), abs(height)
    return 0, 0


def _jpeg_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height that a JPEG file says of its frame, wherever in it that stands."""
    file.seek(2)
    # As decoders do, over what lies between segments and what fills them up.
    while byte := file.read(1):
        if byte != b"\xff":
            continue
        while byte == b"\xff":
            byte = file.read(1)
        if byte in _JPEG_ENDS:
            break
        if byte in _JPEG_ALONE:
            continue
        length = int.from_bytes(file.read(2), "big")
        if byte not in _JPEG_FRAMES:
            file.seek(max(length - 2, 0), os.SEEK_CUR)
            continue
        header = file.read(5)
        if len(header) == 5:
            height, width = struct.unpack_from(">HH", header, 1)
            return width, height
    return 0, 0


def _gif_frames(file: BinaryIO) -> int | None:
    """How many frames a GIF has; None for one that is damaged."""
    file.seek(0)
    try:
        return int(GifImageFile(file).n_frames)
    except Exception:  # The decoder will say what is wrong with it, with a reason of its own.
        return None
