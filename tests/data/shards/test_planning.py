"""What is to be scored, divided: every image once, and the same shards for the same inputs."""

import os
import pickle
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_lodin.data.shards import plan
from keras_lodin.data.shards.image_file_shard import ImageFileShard


@pytest.fixture
def images(tmp_path):
    """Eleven images in three folders, and what is none."""
    for number in range(11):
        path = tmp_path / "images" / ("", "b", "b/c")[number % 3] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), number, "uint8")).save(path)
    (tmp_path / "images" / "note.txt").write_text("no image")
    (tmp_path / "images" / ".hidden.png").write_bytes(path.read_bytes())
    return tmp_path / "images"


def paths(shards):
    return [path for shard in shards for path in shard.paths()]


def test_images_go_to_shards_in_the_order_of_their_paths(images):
    shards = plan([images], 4)
    assert [shard.count for shard in shards] == [4, 4, 3]
    assert [shard.name for shard in shards] == ["00000", "00001", "00002"]
    expected = sorted(images.rglob("[0-9]*.png"))
    assert paths(shards) == list(map(str, expected))
    summary = shards[0].plan
    assert (summary.shards, summary.images, summary.shard_size) == (3, 11, 4)
    assert {shard.natural_shape for shard in shards} == {(4, 5, 3)}


def test_equal_inputs_give_equal_shards_and_a_change_others(images):
    def digest():
        return plan([images], 4)[0].plan.sha256

    before = digest()
    assert digest() == before
    (images / "11.png").write_bytes((images / "00.png").read_bytes())
    assert digest() != before
    (images / "11.png").unlink()
    assert digest() == before
    (images / "00.png").write_bytes(b"other")
    assert digest() != before


def test_what_is_named_twice_is_scored_once(images):
    inputs = [images / "b", images, images / "00.png", images / "b" / "c", images, "digits:1"]
    shards = plan([*inputs, "digits:1"], 100)
    assert sorted(paths(shards[:1])) == sorted(map(str, images.rglob("[0-9]*.png")))
    assert len(shards) == 2 + (shards[1].count == 100)


def test_what_a_folder_would_not_list_counts_where_it_is_named(images, tmp_path):
    hidden, note = images / ".hidden.png", images / "note.txt"
    link = images / "link.png"
    link.symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "elsewhere.png").write_bytes(hidden.read_bytes())
    found = paths(plan([images, hidden, note, link], 100))
    assert len(found) == 11 + 3
    assert len(set(found)) == len(found)


def test_files_of_many_images_are_found_in_folders(images):
    with tf.io.TFRecordWriter(str(images / "b" / "a.tfrecord")) as file:
        image = tf.train.BytesList(value=[(images / "00.png").read_bytes()])
        features = tf.train.Features(feature={"x": tf.train.Feature(bytes_list=image)})
        for _ in range(5):
            file.write(tf.train.Example(features=features).SerializeToString())
    shards = plan([images], 3)
    assert sum(shard.count for shard in shards) == 11 + 5
    kinds = [type(shard).__name__ for shard in shards]
    assert sorted(set(kinds)) == ["ImageFileShard", "TFRecordShard"]


def test_shards_are_small_and_can_be_sent(images, monkeypatch):
    monkeypatch.chdir(images.parent)
    (shard,) = plan(["images"], 100)
    sent = pickle.loads(pickle.dumps(shard))
    assert sent == shard
    assert sent.paths()[0] == "images/00.png"
    monkeypatch.chdir("/")
    # By where they were when they were named.
    assert all(isinstance(encoded, bytes) for _, encoded in sent.records())
    names = [f"folder/of/images/{number:07}.jpg" for number in range(10_000)]
    assert len(ImageFileShard(len(names), _packed(names)).packed) < 60_000


def _packed(names):
    from keras_lodin.data.shards.image_file_shard import pack

    return pack(names)


def test_paths_may_hold_any_bytes(tmp_path):
    name = os.fsdecode(b"\xff\xe9 = \n.png")
    Image.fromarray(np.zeros((4, 4), "uint8")).save(tmp_path / name)
    (shard,) = plan([tmp_path], 10)
    assert shard.paths() == [str(tmp_path / name)]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "one or more paths"),
        (["nothing.png"], "no such image, file or folder"),
        (["*.png"], "Name files, not a pattern"),
        (["{tmp}"], "There are no images"),
        (["dir:{tmp}"], "There are no images"),
        (["digits:99"], "digits"),
        (["tfdz:cifar10"], "Did you mean 'tfds'"),
        (["{tmp}/cut.tfrecord"], "whole TFRecord file"),
        (["{tmp}/cut.parquet"], "whole Parquet file"),
        (["/dev/null"], "no file and no folder"),
    ],
)
def test_mistakes_are_said_before_the_work(inputs, message, tmp_path):
    if "cut" in "".join(inputs):
        (tmp_path / "cut.tfrecord").write_bytes(bytes(range(100)))
        (tmp_path / "cut.parquet").write_bytes(bytes(range(100)))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        plan([one.format(tmp=tmp_path) for one in inputs])
    assert "Received: " in str(error.value)


def test_arguments_are_held_to_their_types():
    with pytest.raises(TypeError, match="must be a list"):
        plan("photos")
    with pytest.raises(ValueError, match="shard_size"):
        plan(["digits"], 0)


def test_a_column_that_is_not_clear_is_to_be_named(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    content = pa.array([b"x"], pa.binary())
    pyarrow.parquet.write_table(pa.table({"left": content, "right": content, "n": [1]}), path)
    with pytest.raises(ValueError, match=r"`image_column`.*'left', 'n', 'right'"):
        plan([path])
    with pytest.raises(ValueError, match="no column 'n' of encoded images"):
        plan([path], image_column="n")
    with pytest.raises(ValueError, match="no column 'key'"):
        plan([path], image_column="left", key_column="key")
    (shard,) = plan([path], image_column="right", key_column="n")
    assert (shard.image, shard.key) == ("right", "n")


@pytest.mark.parametrize("name", ["image_column", "key_column"])
def test_a_column_is_refused_where_no_file_has_columns(images, name):
    with pytest.raises(ValueError, match=f"none is among the inputs.*Received: {name}='id'"):
        plan([images, "digits:1"], **{name: "id"})


@pytest.mark.parametrize("name", ["pyarrow", "pyarrow.parquet"])
def test_without_what_reads_parquet_files_it_says_what_to_install(name, tmp_path, monkeypatch):
    path = tmp_path / "images.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        plan([path])
