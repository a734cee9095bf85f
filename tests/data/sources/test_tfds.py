from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_lodin import data


def read(source):
    return [np.concatenate(column) for column in zip(*source.batches(100), strict=True)]


@pytest.fixture
def load(tfds_dir):
    def load(specification, part="test", **options):
        return data.load(
            specification, part=part, **{"data_dir": tfds_dir, "input_range": (0, 255), **options}
        )

    return load


@pytest.fixture
def reference(tfds_dir):
    """Images and labels of a split as TensorFlow Datasets gives them."""

    def reference(split):
        dataset = tfds.load("toy_images", data_dir=tfds_dir, split=split)
        rows = list(dataset.as_numpy_iterator())
        return [np.stack([row[key] for row in rows]) for key in ("image", "label")]

    return reference


@pytest.mark.parametrize(
    ("part", "split"),
    [("train", "train[:90%]"), ("calibration", "train[90%:]"), ("test", "test"), ("all", "test")],
)
def test_part_is_a_split_in_stored_order(load, reference, part, split):
    source = load("tfds:toy_images", part)

    x, y = read(source)

    images, labels = reference(split)
    np.testing.assert_array_equal(x, images)
    np.testing.assert_array_equal(y, labels)
    assert source.count == len(labels)
    assert source.class_names == ("cat", "dog")


@pytest.mark.grid(2)
@pytest.mark.parametrize("split", ["train", "test[:50%]", "test[3:7]", "train[:5]+test[-2:]"])
def test_named_split_is_taken_whatever_the_part(load, reference, split):
    for part in ("train", "test"):
        np.testing.assert_array_equal(
            read(load(f"tfds:toy_images:{split}", part))[0], reference(split)[0]
        )


@pytest.mark.parametrize("split", ["validation", "test[:50%", "test[50:]"])
def test_missing_split_names_those_there_are(load, split):
    with pytest.raises(ValueError, match="no examples in") as error:
        load(f"tfds:toy_images:{split}")

    assert "train (20 examples), test (12 examples)" in str(error.value)
    assert "'tfds:toy_images:train[:50%]'" in str(error.value)


def test_missing_split_of_a_part_says_what_was_looked_for(shared_data):
    with pytest.raises(ValueError, match=r"in train\[:90%\], which is its 'train' part"):
        data.load("tfds:mnist28", part="train", data_dir=shared_data / "tfds")


def test_unknown_data_set_names_the_nearest_in_the_folder(load):
    with pytest.raises(ValueError, match=r"Did you mean 'toy_images'.* holds: toy_images"):
        load("tfds:toyimages")


def test_unknown_data_set_names_the_nearest_that_tfds_knows(load):
    with pytest.raises(ValueError, match=r"Did you mean 'cifar10'"):
        load("tfds:cifar1O", data_dir=None)


def test_missing_data_dir_is_named(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        load("tfds:toy_images", data_dir=tmp_path / "nowhere")


def test_failed_download_is_explained(load, tmp_path, monkeypatch):
    def download_and_prepare(self, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download_and_prepare)

    with pytest.raises(
        OSError, match=r"'cifar10' is not in .* could not be downloaded. Received: no netw"
    ):
        load("tfds:cifar10", data_dir=tmp_path)


def test_data_set_without_images_is_refused(load, tmp_path, monkeypatch):
    tfds.dataset_builders.store_as_tfds_dataset(
        name="toy_numbers",
        version="1.0.0",
        data_dir=tmp_path,
        split_datasets={"test": tf.data.Dataset.from_tensor_slices({"value": np.arange(3.0)})},
        features=tfds.features.FeaturesDict({"value": np.float64}),
    )

    with pytest.raises(ValueError, match=r"no feature of 8-bit images.* features value"):
        load("tfds:toy_numbers", data_dir=tmp_path)


def test_reading_prints_nothing(load, capfd, caplog):
    read(load("tfds:toy_images"))

    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_shared_cifar10_has_the_pixels_that_tfds_decodes(shared_data):
    source = data.load(
        "tfds:cifar10_jpeg75:test[:300]",
        part="test",
        data_dir=shared_data / "tfds",
        image_shape=(32, 32, 3),
        input_range=(0, 255),
    )
    expected = tfds.load(
        "cifar10_jpeg75", data_dir=shared_data / "tfds", split="test[:300]", as_supervised=True
    )

    x, y = read(source)

    images, labels = (
        np.stack(column) for column in zip(*expected.as_numpy_iterator(), strict=True)
    )
    np.testing.assert_array_equal(x, images)
    np.testing.assert_array_equal(y, labels)
    assert source.class_names[:2] == ("airplane", "automobile")
