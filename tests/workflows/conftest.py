"""One trained network for all the jobs that start from one."""

import pytest

from keras_lodin.models.networks import by_name
from keras_lodin.workflows import train, tune_model
from tests import networks


@pytest.fixture(scope="package", autouse=True)
def perceptron():
    """A network for what is about the training, not about what is trained."""
    by_name._BUILDERS["perceptron"] = networks.perceptron
    yield
    del by_name._BUILDERS["perceptron"]


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Folder of a finished training run on digits 0 to 6."""
    return train(
        "digits:0-6",
        "small_convnet",
        tmp_path_factory.mktemp("session") / "run",
        epochs=8,
        verbose=0,
    )


@pytest.fixture(scope="session")
def detector_file(run):
    """A tuned and calibrated ODIN detector."""
    tune_model(run, "digits:0-6", run.parent / "detector.keras", verbose=0)
    return run.parent / "detector.keras"


@pytest.fixture(scope="session")
def artifact(detector_file):
    """The same as a SavedModel."""
    from keras_lodin.workflows import export_model

    export_model(detector_file, detector_file.parent / "artifact", verbose=False)
    return detector_file.parent / "artifact"
