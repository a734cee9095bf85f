"""A network that trains at once, by its name, for all jobs."""

import pytest

from keras_lodin.models.networks import NETWORKS
from tests import networks


@pytest.fixture(scope="package", autouse=True)
def perceptron():
    """A network for what is about the training, not about what is trained."""
    NETWORKS["perceptron"] = networks.perceptron
    yield
    del NETWORKS["perceptron"]
