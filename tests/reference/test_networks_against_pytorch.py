"""The networks of `keras_lodin.models` against PyTorch twins with the same weights.

`README.md` says how to make the reference environment.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from keras import layers

from keras_lodin import models
from tests import networks
from tests.reference.weights import weight_arrays, weight_arrays_by_name

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference_python():
    python = os.environ.get("KERAS_LODIN_REFERENCE_PYTHON")
    if not python:
        pytest.skip(
            "needs the Python of an environment with PyTorch in KERAS_LODIN_REFERENCE_PYTHON "
            "(tests/reference/README.md)"
        )
    return python


def as_if_trained(model, rng):
    """Gives each BatchNormalization statistics, factors and offsets of its own.

    Factors of one and offsets of zero would hide weights that are swapped.
    """
    for layer in networks.with_statistics(model).layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, size=layer.gamma.shape))
            layer.beta.assign(rng.normal(scale=0.3, size=layer.beta.shape))
    return model


def pytorch_logits(python, folder, network, arrays, images):
    """Logits of a PyTorch network, computed in a process of its own."""
    files = [folder / name for name in ("weights.npz", "images.npy", "logits.npy")]
    np.savez(files[0], **arrays)
    np.save(files[1], images)
    finished = subprocess.run(
        [python, str(HERE / "pytorch_logits.py"), network, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return np.load(files[2])


def assert_equal_logits(ours, theirs):
    assert ours.shape == theirs.shape
    largest = np.abs(theirs).max()
    difference = np.abs(ours - theirs).max() / largest
    print(f"largest logit {largest:.2f}, largest difference over it {difference:.1e}")
    assert np.ptp(theirs, axis=0).max() > 0.01 * largest  # the images are told apart
    assert difference < 1e-5


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "wide_resnet_16_2", "wide_resnet_34_1", "wide_resnet_40_4"]
)
def test_residual_networks_compute_as_in_pytorch(name, reference_python, tmp_path, rng):
    if name in models.names():
        model = models.build(name, num_classes=10, input_shape=(32, 32, 3))
    else:
        model = models.WideResNet(*map(int, name.split("_")[2:]))
    as_if_trained(model, rng)
    images = rng.uniform(size=(8, 32, 32, 3)).astype("float32")
    theirs = pytorch_logits(reference_python, tmp_path, name, weight_arrays(model), images)
    assert_equal_logits(model.predict(images, verbose=0), theirs)


def test_all_exits_of_msdnet_compute_as_in_pytorch(reference_python, tmp_path, rng):
    model = as_if_trained(models.MSDNet(), rng)
    images = rng.uniform(size=(8, 32, 32, 3)).astype("float32")
    arrays = weight_arrays_by_name(model)
    theirs = pytorch_logits(reference_python, tmp_path, "msdnet", arrays, images)
    ours = model.predict(images, verbose=0)
    assert len(ours) == theirs.shape[1] == 5
    for i in range(5):
        assert_equal_logits(ours[i], theirs[:, i])
