"""Small files that unfold to gigabytes are told by their first bytes, before they are decoded."""

from __future__ import annotations

import os

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

# What one pixel takes at most where it is decoded, three channels and a fourth that is dropped.
_BYTES_PER_PIXEL = 4
# First bytes of the kinds that are decoded, and what reads their sizes. Not `Image.open`, whose
# warning of large images could not be kept back in one thread alone.
_READERS = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"BM": BmpImageFile,
    b"GIF8": GifImageFile,
}


def too_large(path: str | os.PathLike[str]) -> str | None:
    """Why an image is not to be decoded: it has more pixels than Pillow takes for safe.

    The limit is `PIL.Image.MAX_IMAGE_PIXELS`, 89 million pixels; whoever works with larger images
    sets it, or sets it to None for no limit. Of an animated GIF all frames count, because they are
    unfolded to reach the first; no file is read that is larger than such an image without
    compression.

    Args:
        path: of an image file.

    Returns:
        the reason; None for all others, those that Pillow cannot read included.

    Raises:
        OSError: if the file cannot be opened.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None:
        return None
    size = os.path.getsize(path)
    if size > _BYTES_PER_PIXEL * limit + 2**20:
        return f"the file has {size:,} bytes, more than an image of {limit:,} pixels takes"
    with open(path, "rb") as file:
        start = file.read(8)
        reader = next((kind for magic, kind in _READERS.items() if start.startswith(magic)), None)
        if reader is None:
            return None
        file.seek(0)
        try:
            image = reader(file)
            pixels, shape = image.width * image.height, f"{image.width} x {image.height}"
            if pixels <= limit and isinstance(image, GifImageFile):
                pixels = max(pixels, pixels * image.n_frames // _BYTES_PER_PIXEL)
                shape += f" x {image.n_frames} frames"
        except Exception:  # Damaged, which the decoder will say with its own reason.
            return None
    if pixels > limit:
        return f"it has {shape} pixels, more than the {limit:,} that are taken for safe"
    return None
