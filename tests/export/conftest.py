import numpy as np
import pytest

from keras_lodin.detectors import ODINDetector
from tests.export.networks import small_classifier


@pytest.fixture
def images():
    return np.random.default_rng(7).uniform(0, 1, (20, 8, 8, 3)).astype("float32")


@pytest.fixture
def detector(images):
    detector = ODINDetector(small_classifier(), class_names=["a", "b", "c", "d"])
    detector.calibrate(images, tpr=0.8, verbose=0)
    return detector
