"""Several devices of JAX; those of TensorFlow are in `tests/training/test_replicas.py`."""

import os
import sys

import keras
import pytest

from keras_lodin.workflows import train
from tests import processes

# In processes of their own: the number of simulated devices is settled when JAX starts.
START = """
import sys

import jax
import keras
import numpy as np

import keras_lodin
from tests.core import expected, networks


def compare(computed):
    alone = computed("alone")
    assert len(jax.devices()) == 2
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    for name, value in computed("shared").items():
        np.testing.assert_allclose(value, alone[name], rtol=1e-4, atol=1e-5, err_msg=name)
    print("the same")


def whole():
    return expected.after_training("softplus", True, {})


def uneven(*estimators):
    # The last batch has five samples, which two devices cannot share.
    found = {}
    x, y = networks.batch(11)
    for name in estimators:
        classifier = networks.classifier("softplus", True)
        model = keras_lodin.GQModel(classifier, 0.5, estimator=name, seed=5)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
        log = model.fit(x, y, batch_size=6, shuffle=False, verbose=0).history
        found |= {f"{name}: {key}": np.array(values) for key, values in log.items()}
        weights = enumerate(classifier.get_weights())
        found |= {f"{name}: weight {place}": weight for place, weight in weights}
    detector = keras_lodin.ODINDetector(classifier, input_range=(0, 1), epsilon=0.02)
    return {**found, "score": detector.predict(x, batch_size=6, verbose=0)["score"]}


"""
RUN = """
import json
from keras_lodin.models.networks import NETWORKS
from keras_lodin.workflows import train
from tests.networks import perceptron

NETWORKS["perceptron"] = perceptron
settings = {"id": "digits:0-6", "model": "perceptron", "gq_weight": 0.1, "verbose": 0}


def computed(name):
    run = train(output=f"{sys.argv[1]}/{name}", epochs=2, **settings)
    epochs = json.loads((run / "run.json").read_text())["history"]
    found = {f"{place}: {key}": epoch[key] for place, epoch in enumerate(epochs) for key in epoch}
    weights = enumerate(keras.models.load_model(run / "model.keras").get_weights())
    return found | {f"weight {place}": weight for place, weight in weights}


compare(computed)
for more, message in (
    ({"batch_size": 65}, "must be a multiple of 2, the number of devices"),
    ({"strategy": "mirrored"}, "is for Keras's backend tensorflow"),
):
    try:
        train(output=f"{sys.argv[1]}/refused", **settings, **more)
    except ValueError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
"""


def run(script, *arguments):
    if keras.backend.backend() != "jax":
        pytest.skip("keras.distribution is for JAX")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {**os.environ, "PYTHONPATH": str(processes.ROOT), "XLA_FLAGS": flags.strip()}
    command = [sys.executable, "-c", START + script, *map(str, arguments)]
    assert "the same" in processes.run(command, env=environment).stdout.splitlines()


def test_two_devices_train_and_score_as_one():
    run("compare(lambda name: uneven('exact'))")


@pytest.mark.slow
def test_two_devices_validate_weigh_and_draw_as_one():
    run("compare(lambda name: {**whole(), **uneven('sampled', 'projected')})")


@pytest.mark.slow
def test_a_run_on_two_devices_ends_as_one_on_one(tmp_path):
    run(RUN, tmp_path)


def test_a_strategy_of_tensorflow_is_refused_with_what_there_is_instead(tmp_path):
    backend = keras.backend.backend()
    if backend == "tensorflow":
        pytest.skip("it has strategies")
    remedy = {"jax": "keras.distribution.DataParallel", "torch": "On torch a training runs on one"}
    with pytest.raises(ValueError, match="is for Keras's backend tensorflow") as raised:
        train("digits:0-6", "small_convnet", tmp_path / "run", strategy="mirrored")
    assert remedy[backend] in str(raised.value)
    assert not (tmp_path / "run").exists()
