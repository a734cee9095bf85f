"""Image files by Pillow and NumPy, against TensorFlow."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_image

from keras_lodin.data.readers import image_files
from keras_lodin.data.readers import numpy as numpy_reader
from keras_lodin.data.readers import tensorflow as tensorflow_reader

PHOTO = Image.fromarray(load_sample_image("flower.jpg")[100:161, 200:253])
GREY = np.asarray(PHOTO.convert("L"))


def file(image, file_format, **options):
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def gif_with_a_smaller_frame():
    content = bytearray(file(PHOTO.quantize(8), "GIF", transparency=2))
    content[6] += 20
    content[8] += 10
    return bytes(content)


FILES = {
    **{
        f"JPEG {subsampling} {quality}": file(
            PHOTO, "JPEG", subsampling=subsampling, quality=quality
        )
        for subsampling in ("4:4:4", "4:2:2", "4:2:0", "4:1:1")
        for quality in (5, 75)
    },
    "JPEG progressive": file(PHOTO, "JPEG", progressive=True),
    "JPEG grey": file(PHOTO.convert("L"), "JPEG"),
    "JPEG of RGB": file(PHOTO, "JPEG", keep_rgb=True),
    "JPEG of several pictures": file(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
    "PNG of two colours": file(PHOTO.convert("1"), "PNG"),
    "PNG grey": file(PHOTO.convert("L"), "PNG"),
    "PNG grey with alpha": file(PHOTO.convert("LA"), "PNG"),
    "PNG of a palette": file(PHOTO.quantize(4), "PNG", bits=2),
    "PNG of a palette that lets through": file(
        PHOTO.quantize(4), "PNG", transparency=bytes([0, 128, 255])
    ),
    "PNG of a palette with one colour that lets through": file(
        PHOTO.quantize(4), "PNG", transparency=1
    ),
    "PNG": file(PHOTO, "PNG"),
    "PNG with alpha": file(PHOTO.convert("RGBA"), "PNG"),
    "PNG of 16 bits": file(Image.fromarray(GREY.astype("uint16") * 255 + 77), "PNG"),
    "BMP grey": file(PHOTO.convert("L"), "BMP"),
    "BMP of a palette": file(PHOTO.quantize(9), "BMP"),
    "BMP": file(PHOTO, "BMP"),
    "GIF": file(PHOTO, "GIF"),
    "GIF that lets through": file(PHOTO.quantize(4), "GIF", transparency=1),
    "GIF of two frames": file(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90)]),
    "GIF with a smaller frame": gif_with_a_smaller_frame(),
}
NONE = {
    "nothing": b"",
    "text": b"hello, this is text",
    "TIFF": file(PHOTO, "TIFF"),
    "BMP of two colours": file(PHOTO.convert("1"), "BMP"),
    **{
        f"{share:.0%} of a {name}": FILES[name][: int(share * len(FILES[name]))]
        for name in ("PNG", "JPEG grey", "JPEG 4:2:0 75", "BMP", "GIF")
        for share in (0.2, 0.9, 0.995)
    },
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_tensorflow(name):
    found = image_files.decoded(FILES[name])
    wanted = tensorflow_reader.decoded(FILES[name]).numpy()
    assert found.dtype == np.uint8
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found, wanted)


def test_jpegs_of_all_sizes_have_the_pixels_of_tensorflow():
    for number in range(1, 12):
        part = PHOTO.crop((0, 0, number, 1 + number * 5 % 11))
        for subsampling in ("4:2:2", "4:2:0"):
            content = file(part, "JPEG", subsampling=subsampling)
            wanted = tensorflow_reader.decoded(content)
            np.testing.assert_array_equal(image_files.decoded(content), wanted)


def test_webp_is_read_as_later_versions_of_tensorflow_do():
    content = file(PHOTO, "WEBP", lossless=True)
    np.testing.assert_array_equal(image_files.decoded(content), np.asarray(PHOTO))
    with pytest.raises(ValueError, match=r"^[^{<]+$"):
        image_files.decoded(content[: len(content) * 9 // 10])


def test_print_colours_differ_by_rounding_at_most():
    content = file(PHOTO.convert("CMYK"), "JPEG")
    wanted = tensorflow_reader.decoded(content).numpy().astype(int)
    assert np.abs(image_files.decoded(content) - wanted).max() <= 4


@pytest.mark.parametrize("name", NONE)
@pytest.mark.parametrize("decoded", [image_files.decoded, tensorflow_reader.decoded])
def test_what_is_no_whole_image_is_refused_with_a_reason(name, decoded):
    with pytest.raises(ValueError, match=r"^[^{<]+$"):
        decoded(NONE[name])


@pytest.mark.parametrize("size", [(61, 53), (224, 30), (17, 200), (1, 1)])
def test_resizing_is_that_of_tensorflow(size):
    image = np.asarray(PHOTO, "float32")
    wanted = tf.image.resize(image, size, antialias=True)
    np.testing.assert_allclose(numpy_reader.resized(image, size), wanted, rtol=0.0, atol=5e-3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sizes_of_png_files_are_those_of_tensorflow(channels, rng):
    pixels = rng.integers(0, 60, (3, 13, 11, channels), dtype=np.uint8)
    sizes = [
        np.asarray(reader.png_sizes(tf.constant(pixels)))
        for reader in (tensorflow_reader, numpy_reader)
    ]
    assert sizes[1].dtype == np.float32
    np.testing.assert_array_equal(*sizes)
