import contextlib
import io
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from keras_lodin.detectors import Detector, ODINDetector
from tests.export.networks import FILES, small_classifier


def made_images():
    return np.random.default_rng(7).uniform(0, 1, (20, 8, 8, 3)).astype("float32")


def made_detector(images):
    detector = ODINDetector(small_classifier(), class_names=["a", "b", "c", "d"])
    detector.calibrate(images, tpr=0.8, verbose=0)
    return detector


@pytest.fixture
def images():
    return made_images()


@pytest.fixture
def detector(images):
    return made_detector(images)


@dataclass
class Exported:
    """A detector, what was exported of it, and what that printed, for tests that change neither."""

    detector: Detector
    path: Path
    printed: str

    @cached_property
    def expected(self):
        """What the detector says of `images`."""
        return self.detector.predict(made_images(), verbose=0)

    def copied(self, folder):
        """The same in a folder where it may be replaced."""
        shutil.copytree(self.path.parent, folder, dirs_exist_ok=True)
        return folder / self.path.name


@pytest.fixture(scope="module")
def exported(request, tmp_path_factory):
    """One export in the module's FORMAT, of the module's own detector where it makes one."""
    images = made_images()
    detector = getattr(request.module, "made_detector", made_detector)(images)
    path = tmp_path_factory.mktemp("exported") / FILES[request.module.FORMAT]
    options = {"sample_inputs": images} if request.module.FORMAT == "onnx" else {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        detector.export(path, format=request.module.FORMAT, **options)
    return Exported(detector, path, printed.getvalue())
