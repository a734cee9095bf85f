from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from keras_lodin.data import readers
from keras_lodin.data.readers import numpy as numpy_reader
from keras_lodin.data.readers import tensorflow as tensorflow_reader
from tests.openood import write_openood

COLOURS = np.random.default_rng(0).integers(0, 256, (12, 10, 12, 3), dtype=np.uint8)


READERS = {"tf.data": tensorflow_reader, "NumPy": numpy_reader}


@pytest.fixture(params=READERS)
def reader(request, monkeypatch):
    """Each of the two in turn, and data are read by it."""
    monkeypatch.setattr(readers, "READER", READERS[request.param])
    return READERS[request.param]


@pytest.fixture
def read_by_both(monkeypatch):
    """What a function returns with either reader: that of tf.data, and that of NumPy."""

    def read_by_both(function):
        found = []
        for reader in READERS.values():
            with monkeypatch.context() as patch:
                patch.setattr(readers, "READER", reader)
                found.append(function())
        return found

    return read_by_both


@pytest.fixture
def colours():
    """Twelve different small RGB images."""
    return COLOURS


@pytest.fixture
def flat_folder(tmp_path):
    """Twelve RGB images in one folder, named so that their order is that of `colours`."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for number, pixels in enumerate(COLOURS):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def class_folder(tmp_path):
    """The twelve images in three class folders of four."""
    folder = tmp_path / "classes"
    for number, pixels in enumerate(COLOURS):
        target = folder / ("apple", "bean", "corn")[number // 4] / f"{number:02}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target)
    return folder


@pytest.fixture
def image_npz(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, x=COLOURS, y=np.arange(12) % 3)
    return path


@pytest.fixture
def vector_npz(tmp_path):
    path = tmp_path / "vectors.npz"
    np.savez(path, x=np.random.default_rng(1).normal(size=(12, 5)))
    return path


@pytest.fixture(scope="session")
def tfds_dir(tmp_path_factory):
    """A folder with the TensorFlow dataset `toy_images`: 20 train and 12 test examples."""
    data_dir = tmp_path_factory.mktemp("tfds")

    def examples(count):
        images = np.random.default_rng(count).integers(0, 256, (count, 9, 7, 3), dtype=np.uint8)
        labels = np.arange(count, dtype=np.int64) % 2
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})

    tfds.dataset_builders.store_as_tfds_dataset(
        name="toy_images",
        version="1.0.0",
        data_dir=data_dir,
        split_datasets={"train": examples(20), "test": examples(12)},
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(9, 7, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
        ),
        disable_shuffling=True,
    )
    return data_dir


@pytest.fixture(scope="session")
def openood_dir(tmp_path_factory):
    """OpenOOD's folder for its benchmark of CIFAR-10, see `write_openood`."""
    return write_openood(tmp_path_factory.mktemp("openood"), COLOURS)
