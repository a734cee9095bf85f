"""Data by name on every backend: the same examples in the same order."""

import hashlib
import importlib.util
import os
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from keras_lodin import data
from keras_lodin.data.batches import batch_count, iterate_batches, prediction_data
from keras_lodin.data.complexity import png_sizes
from keras_lodin.data.passes import BatchFunction
from keras_lodin.utils.needed_packages import has_tensorflow
from tests import processes

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 9, 8, 3), dtype=np.uint8)


@pytest.fixture
def numbered(tmp_path):
    """24 images of whole numbers, labelled by their places."""
    np.savez(tmp_path / "numbered.npz", x=PIXELS, y=np.arange(24))
    return data.load(f"npz:{tmp_path / 'numbered.npz'}", part="train", input_range=(0, 255))


@pytest.fixture
def folder(tmp_path):
    """The images in two class folders, one of them broken."""
    for number, pixels in enumerate(PIXELS):
        path = tmp_path / "folder" / ("left", "right")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:60])
    return f"dir:{tmp_path / 'folder'}"


def digest(arrays):
    whole = np.concatenate([np.asarray(array).reshape(-1) for array in arrays])
    return hashlib.sha256(whole.astype("float32").tobytes()).hexdigest()[:12]


def test_order_crops_and_mirror_images_of_a_seed_are_the_same_on_every_backend(numbered):
    batches = list(numbered.training_batches(10, 3, 1, 3, "crop-flip"))

    assert [len(y) for _, y in batches] == [10, 10, 4] * 2
    assert np.asarray(batches[0][1]).tolist() == [3, 18, 13, 5, 20, 2, 21, 6, 15, 17]
    assert digest(x for x, _ in batches) == "f3b2aa6d4b93"
    later = list(numbered.training_batches(10, 3, 2, 3, "crop-flip"))
    assert digest(x for x, _ in later) == digest(x for x, _ in batches[3:])


def test_noise_of_a_seed_is_the_same_on_every_backend():
    def read(distribution):
        source = data.load(f"noise:{distribution}:5", part="test", image_shape=(4, 3), seed=2)
        return [np.asarray(x) for (x,) in source.batches(2)]

    assert digest(read("uniform")) == "48c6eaa695da"
    np.testing.assert_allclose(
        np.concatenate(read("gaussian"))[0, 0],
        [0.2770222, 0.2898947, 0.9494716],
        rtol=0.0,
        atol=1e-6,
    )


def test_a_folder_is_read_in_order_and_what_is_broken_is_skipped(folder):
    source = data.load(folder, part="all", input_range=(0, 255))

    x, y = (np.concatenate(column) for column in zip(*source.batches(5), strict=True))

    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(x, np.concatenate([PIXELS[::2], PIXELS[1:-1:2]]))
    np.testing.assert_array_equal(y, np.repeat([0, 1], [12, 11]))
    assert [os.path.basename(path) for path, _ in source.skipped] == ["23.png"]
    assert source.count is None
    assert source.steps_per_epoch(5) == 5
    assert (source.count, source.stored, len(source.batches(5))) == (23, 24, 5)
    swapped = source.with_labels_of(("right", "left"))
    np.testing.assert_array_equal(np.concatenate([y for _, y in swapped.batches(5)]), 1 - y)


@pytest.mark.parametrize(
    "specification", ["digits:0-6", "photos:12", "noise:gaussian:12", "{folder}"]
)
def test_sources_of_every_kind_are_in_range_and_whole(specification, folder):
    name = specification.format(folder=folder)
    source = data.load(name, part="test", image_shape=(16, 12, 1), input_range=(-1, 1))

    found = list(iterate_batches(source, 5))

    assert sum(len(x) for x, _ in found) == source.steps_per_epoch(1)
    assert batch_count(source, 5) == batch_count(source.batches(5), 5) == len(found)
    for x, y in found:
        assert x.shape[1:] == (16, 12, 1)
        assert np.abs(np.asarray(x)).max() <= 1
        assert (y is None) == (not source.labelled)


def test_a_pass_and_keras_take_the_batches_that_a_source_gives(folder):
    source = data.load(folder, part="test", image_shape=(8, 8, 3))
    largest = BatchFunction(lambda images: keras.ops.max(images, axis=(1, 2, 3)))

    by_source = [batch.outputs for batch in largest.over(source, "Looking", 5, verbose=0)]
    by_batches = [batch.outputs for batch in largest.over(source.batches(5), "Looking", verbose=0)]

    np.testing.assert_array_equal(np.concatenate(by_source), np.concatenate(by_batches))


@pytest.mark.slow_on("tensorflow")
def test_keras_trains_tests_and_predicts_by_batches(folder):
    source = data.load(folder, part="train")
    model = keras.Sequential(
        [keras.Input(source.shape), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    steps = source.steps_per_epoch(8)

    history = model.fit(
        source.training_batches(8, 0, 1, 3, "crop-flip"),
        validation_data=source.batches(8),
        initial_epoch=1,
        epochs=3,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
    )

    assert history.epoch == [1, 2]
    evaluated = model.evaluate(source.batches(8), verbose=0)
    assert evaluated == pytest.approx(float(history.history["val_loss"][-1]), rel=1e-5)
    found = model.predict_on_batch(np.concatenate([x for x, _ in source.batches(8)]))
    predicted = [model.predict_on_batch(np.asarray(x)) for x, _ in prediction_data(source)]
    np.testing.assert_allclose(np.concatenate(predicted), found, rtol=1e-5, atol=1e-5)
    assert len(found) == source.count


def test_sizes_of_png_files_are_those_of_pillow(rng, tmp_path):
    images = rng.uniform(size=(3, 9, 8, 3)).astype("float32")
    sizes = []
    for image in np.round(255 * images).astype("uint8"):
        Image.fromarray(image).save(tmp_path / "image.png", optimize=True)
        sizes.append(os.path.getsize(tmp_path / "image.png"))

    compiled = BatchFunction(lambda batch: png_sizes(batch, (0.0, 1.0)))
    for found in (png_sizes(images, (0.0, 1.0)), compiled(images)):
        np.testing.assert_array_equal(np.asarray(found), sizes)


WITHOUT_TENSORFLOW = """
import sys

# What is none cannot be imported, and is not found.
sys.modules |= dict.fromkeys(("tensorflow", "tensorflow_datasets"))
import numpy as np
import keras_lodin.data

for name in sys.argv[1:]:
    source = keras_lodin.data.load(name, part="train", image_shape=(8, 8, 3))
    print(sum(len(batch[0]) for batch in source.training_batches(7, 0, 0, 1, "crop-flip")))
try:
    keras_lodin.data.load("tfds:cifar10", part="train")
except ImportError as error:
    print(error)
print(keras_lodin.data.missing("tfds:cifar10"))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_without_tensorflow_all_but_its_own_data_sets_are_read(
    backend, folder, monkeypatch, capsys
):
    if keras.backend.backend() not in ("tensorflow", backend):
        pytest.skip("is tried where that is the backend")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}, which is not installed")
    command = ["-c", WITHOUT_TENSORFLOW, "digits:0-1", "photos:9", folder]

    if has_tensorflow():
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(processes.ROOT)}
        printed = processes.run([sys.executable, *command], env=environment).stdout
    else:
        # As it is not here, and has not been imported, no new process is needed.
        for name in ("tensorflow", "tensorflow_datasets"):
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr(sys, "argv", command[:1] + command[2:])
        exec(WITHOUT_TENSORFLOW, {})
        printed = capsys.readouterr().out
    counts, *sentences = printed.rsplit("Data sets", 2)

    assert counts.split() == ["216", "9", "23"]
    for sentence in sentences:
        assert "`pip install tensorflow tensorflow-datasets` installs both" in sentence
