"""Shards give the pixels that `data.load` gives, whatever the images are and wherever they are."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_lodin import data
from keras_lodin.data.shards import ImageReader, plan
from keras_lodin.data.sources.folder import list_images, load_images

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype="uint8")


def saved(pixels, kind, mode=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(pixels, mode) if mode == "LA" else Image.fromarray(pixels)
    (image.convert(mode) if mode == "P" else image).save(file, kind, **options)
    return file.getvalue()


def files():
    turned = Image.Exif()
    turned[0x112] = 6
    frames = [Image.fromarray(noise(9, 12)) for _ in range(3)]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    jpeg = saved(noise(9, 12, 3), "JPEG")
    return {
        "rgb.png": saved(noise(9, 12, 3), "PNG"),
        "grey.png": saved(noise(9, 12), "PNG"),
        "alpha.png": saved(noise(9, 12, 4), "PNG"),
        "16 bit.png": saved(RNG.integers(0, 2**16, (9, 12), dtype="uint16"), "PNG"),
        "palette.png": saved(noise(9, 12, 3), "PNG", "P"),
        "one pixel.png": saved(noise(1, 1, 3), "PNG"),
        "rgb.jpg": jpeg,
        "grey.jpg": saved(noise(9, 12), "JPEG"),
        "turned.jpg": saved(noise(9, 12, 3), "JPEG", exif=turned),
        "rgb.bmp": saved(noise(9, 12, 3), "BMP"),
        "grey.bmp": saved(noise(9, 12), "BMP"),
        "still.gif": saved(noise(9, 12, 3), "GIF", "P"),
        "animated.gif": animated.getvalue(),
        "sub/by content": saved(noise(20, 5, 3), "PNG"),
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut.png": b"\x89PNG\r\n\x1a\n and then nothing",
        "empty.png": b"",
        "text.jpg": b"no image",
        "other.webp": b"RIFF",
    }


FILES = files()
READABLE = [name for name in FILES if not name.startswith(("cut", "empty", "text", "other"))]


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "images" / name).write_bytes(content)
    return tmp_path / "images"


def read(inputs, shape, batch_size=4, shard_size=100, **options):
    """Keys, images and what could not be read, of all shards."""
    reader = ImageReader(shape, (-1.0, 1.0), batch_size)
    keys, images, unreadable = [], [], []
    for shard in plan(inputs, shard_size, **options):
        for some, batch in reader.batches(shard, unreadable):
            assert len(some) == len(batch)
            keys += some
            images += list(batch)
    return keys, images, unreadable


@pytest.mark.parametrize("shape", [(8, 6, 3), (8, 6, 1), (None, None, 3)])
def test_files_of_every_kind_have_the_pixels_that_they_always_had(folder, reader, shape):
    paths = list_images(str(folder))
    source = load_images(paths, image_shape=shape, input_range=(-1.0, 1.0))
    expected = [image for (batch,) in source.batches(4) for image in np.asarray(batch)]

    keys, images, unreadable = read([folder], shape)

    assert len(images) == len(expected) == len(READABLE)
    for image, other in zip(images, expected, strict=True):
        np.testing.assert_array_equal(image, other)
    assert unreadable == source.skipped
    assert keys == [path for path in paths if path not in dict(unreadable)]


def test_an_image_that_only_the_decoder_of_graphs_refuses_is_read_after_all(
    folder, reader, monkeypatch
):
    expected = read([folder], (8, 6, 3))
    batches = reader.decoded_batches

    def refuse_some(chunks, *arguments):
        def damaged():
            for chunk in chunks():
                yield [(n, b"damaged" if n % 3 == 0 else encoded) for n, encoded in chunk]

        return batches(damaged, *arguments)

    monkeypatch.setattr(reader, "decoded_batches", refuse_some)
    keys, images, unreadable = read([folder], (8, 6, 3))
    # Each comes alone, before the batch that it was to be in.
    order = [keys.index(key) for key in expected[0]]
    np.testing.assert_array_equal([images[place] for place in order], expected[1])
    assert unreadable == expected[2]


def records(path, rows, feature="image/encoded", compression=None):
    def column(content):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))

    with tf.io.TFRecordWriter(str(path), compression) as file:
        for name, content in rows.items():
            features = {feature: column(content), "image/filename": column(name.encode())}
            features["image/format"] = column(b"png")
            example = tf.train.Example(features=tf.train.Features(feature=features))
            file.write(example.SerializeToString())
    return path


def parquet(path, column, **others):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({"image": column, **others}), path, row_group_size=3)
    return path


def stored(tmp_path):
    """The same images, in every kind of file that holds many."""
    pa = pytest.importorskip("pyarrow")
    names, contents = list(FILES), list(FILES.values())
    nested = [{"bytes": content, "path": None} for content in contents]
    large = pa.array(contents, pa.large_binary())
    return (
        records(tmp_path / "a.tfrecord", FILES),
        records(tmp_path / "b.tfrecords-00000-of-00001", FILES, "x", "GZIP"),
        parquet(tmp_path / "a.parquet", pa.array(contents, pa.binary()), filename=names, id=names),
        parquet(tmp_path / "b.parquet", large, file_name=names),
        parquet(tmp_path / "c.parquet", pa.array(nested), key=names),
    )


def test_images_in_files_of_many_are_those_of_the_folder(folder, tmp_path):
    keys, images, unreadable = read([folder], (8, 6, 3))
    expected = dict(zip(keys, images, strict=True))
    reasons = dict(unreadable)
    for path in stored(tmp_path):
        # Groups of rows, batches and shards end at different places.
        names, found, left_out = read([path], (8, 6, 3), shard_size=5)
        assert names == READABLE, path
        for name, image in zip(names, found, strict=True):
            np.testing.assert_array_equal(image, expected[str(folder / name)])
        assert left_out == [
            (name, reasons[str(folder / name)]) for name in FILES if name not in READABLE
        ]


def test_rows_without_names_are_counted_and_those_without_an_image_named(tmp_path):
    pa = pytest.importorskip("pyarrow")
    content = FILES["rgb.png"]
    path = parquet(tmp_path / "a.parquet", pa.array([content, None, content], pa.binary()))
    keys, _, unreadable = read([path], (8, 6, 3), shard_size=2)
    assert keys == [f"{path}#0", f"{path}#2"]
    assert unreadable == [(f"{path}#1", "there is no image in the row")]
    keys, _, _ = read([records(tmp_path / "a.tfrecord", {"": content})], (8, 6, 3))
    assert keys == [f"{tmp_path / 'a.tfrecord'}#0"]


def test_data_by_name_are_what_load_gives(tfds_dir, tmp_path):
    np.savez(tmp_path / "x.npz", x=noise(11, 5, 4, 3))
    for name in (f"npz:{tmp_path / 'x.npz'}", "tfds:toy_images:train[:7]+test[5:]", "digits:3"):
        options = {"data_dir": tfds_dir, "image_shape": (8, 6, 3), "input_range": (-1.0, 1.0)}
        source = data.load(name, part="all", **options)
        expected = np.concatenate([np.asarray(x) for x, *_ in source.batches(5)])

        keys, images, unreadable = read([name], (8, 6, 3), 5, 4, data_dir=tfds_dir)

        np.testing.assert_array_equal(images, expected)
        assert keys == [f"{name}#{number}" for number in range(len(expected))]
        assert not unreadable


def test_what_ends_amid_a_shard_is_an_error_and_not_the_end(tmp_path):
    path = records(tmp_path / "a.tfrecord", dict.fromkeys(map(str, range(9)), FILES["rgb.png"]))
    (shard,) = plan([path], 100)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="Expected a whole TFRecord file"):
        list(ImageReader((8, 6, 3), (0.0, 1.0)).batches(shard, []))


def test_what_is_no_shard_is_refused():
    with pytest.raises(TypeError, match=r"Expected a shard from `keras_lodin.plan`"):
        list(ImageReader((8, 6, 3), (0.0, 1.0)).batches("photo.png", []))
