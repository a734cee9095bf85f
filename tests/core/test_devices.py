"""Several devices of JAX; those of TensorFlow are in `tests/training/test_replicas.py`."""

import os
import sys

import keras
import pytest

from tests import processes

# In a process of its own: the number of simulated devices is settled when JAX starts.
SCRIPT = """
import jax
import keras
import numpy as np

import keras_lodin
from tests.core import expected, networks


def computed():
    found = expected.after_training("softplus", True, {})
    model = networks.classifier("softplus", True)
    detector = keras_lodin.ODINDetector(model, input_range=(0, 1), epsilon=0.02)
    x, _ = networks.batch(12)
    return {**found, "score": detector.predict(x, batch_size=6, verbose=0)["score"]}


alone = computed()
assert len(jax.devices()) == 2
keras.distribution.set_distribution(keras.distribution.DataParallel())
for name, value in computed().items():
    np.testing.assert_allclose(value, alone[name], rtol=1e-4, atol=1e-5, err_msg=name)
print("the same")
"""


def test_two_devices_train_and_score_as_one():
    if keras.backend.backend() != "jax":
        pytest.skip("keras.distribution is for JAX")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {**os.environ, "PYTHONPATH": str(processes.ROOT), "XLA_FLAGS": flags.strip()}
    done = processes.run([sys.executable, "-c", SCRIPT], env=environment)
    assert done.stdout.split("\n")[-2] == "the same"
