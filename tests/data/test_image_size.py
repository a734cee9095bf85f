"""Small files that unfold to gigabytes are skipped, with the reason."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_lodin import data
from keras_lodin.data.image_size import _jpeg_size, too_large
from keras_lodin.data.sources.folder import load_images

BOMB = 23_000


def reason(path):
    with open(path, "rb") as file:
        return too_large(file)


def jpeg_size(path):
    with open(path, "rb") as file:
        return _jpeg_size(file)


def png(width, height):
    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def jpeg(width, height):
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), "uint8")).save(file, "JPEG")
    content = file.getvalue()
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def gif(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + bytes(20)


def bmp(width, height):
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, width, height, 1, 24, *[0] * 6)


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (png(BOMB, BOMB), "png"),
        (png(2**31 - 1, 2**31 - 1), "png"),
        (png(1, 100_000_000), "png"),
        (png(BOMB, BOMB).replace(b"IDAT", b"teXt"), "png"),  # damaged, so that Pillow gives up
        (png(BOMB, BOMB), "jpg"),  # by content, not by name
        (jpeg(60_000, 60_000), "jpg"),
        (jpeg(65_500, 2_000), "png"),
        (gif(65_535, 65_535), "gif"),
        (bmp(BOMB, BOMB), "bmp"),
        (bmp(BOMB, -BOMB), "bmp"),
    ],
)
def test_an_image_of_too_many_pixels_is_named_and_skipped(content, suffix, tmp_path):
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "good.png")
    bomb = tmp_path / f"bomb.{suffix}"
    bomb.write_bytes(content)
    assert "taken for safe" in reason(bomb)
    source = data.load(f"dir:{tmp_path}", part="all")
    assert sum(len(x) for (x,) in source.batches()) == 1
    assert source.skipped == [(str(bomb), reason(bomb))]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"\xff\xc0" * 99}])
def test_the_size_of_a_jpeg_is_what_its_decoder_reads(options, tmp_path):
    path = tmp_path / "a.jpg"
    Image.effect_noise((70, 30), 9).save(path, "JPEG", **options)
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff\xff" + content[2:])
    height, width, _ = tf.io.extract_jpeg_shape(path.read_bytes()).numpy()
    assert jpeg_size(path) == (width, height) == (70, 30)
    for length in (3, 20, content.index(b"\xff\xda")):
        path.write_bytes(content[:length] + b"\xff\xd9")
        assert jpeg_size(path) in ((0, 0), (70, 30))


def test_all_frames_of_a_gif_count(tmp_path, monkeypatch):
    frames = [Image.effect_noise((50, 50), number + 1).convert("P") for number in range(40)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert reason(tmp_path / "a.gif") is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert "40 frames" in reason(tmp_path / "a.gif")


def test_a_file_larger_than_any_image_is_not_read(tmp_path, monkeypatch):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**33)  # It takes no space on the disk.
    assert "8,589,934,592 bytes" in reason(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert reason(tmp_path / "huge.png") is None


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif"])
def test_usual_images_pass_and_the_limit_is_pillows(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.zeros((30, 40), "uint8")).save(path)
    assert reason(path) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_199)
    assert "40 x 30" in reason(path)
    with pytest.raises(ValueError, match="No image of the files given can be read"):
        load_images([str(path)], image_shape=None, input_range=(0, 1))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"\xff"])
def test_damaged_files_are_left_to_the_decoder(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    assert reason(tmp_path / "a.png") is None
