"""Training on several replicas of a `tf.distribute` strategy, one of which may get no samples."""

import pytest

from tests.processes import run_python

START = """
import json, os, sys, warnings
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras_lodin
from keras import layers
from keras_lodin.training.step_seeds import StepSeeds

one = tf.distribute.get_strategy()
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x = np.random.default_rng(0).uniform(size=(5, 4, 4, 1)).astype("float32")
y = np.arange(5) % 3
WITH_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

def dense(*more):
    hidden = [layers.Flatten(), layers.Dense(6), *more, layers.Activation("tanh"), layers.Dense(3)]
    return keras.Sequential([keras.Input((4, 4, 1)), *hidden])

def normalized():
    return dense(layers.BatchNormalization())

def convolutional():
    hidden = [layers.Conv2D(3, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()]
    return keras.Sequential([keras.Input((4, 4, 1)), *hidden, layers.Dense(3)])

def exits():
    inputs = keras.Input((4, 4, 1))
    flat = layers.Flatten()(inputs)
    return keras.Model(inputs, [layers.Dense(3, name=name)(flat) for name in ("near", "far")])

def trained(strategy, network, model, rate=0.0, batch_size=4, weights=None, **options):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        classifier = network()
        model = model(classifier)
        loss = WITH_LOGITS if network is not exits else [WITH_LOGITS, WITH_LOGITS]
        model.compile(keras.optimizers.SGD(rate), loss, weighted_metrics=[], **options)
    log = model.fit(
        x, y, batch_size=batch_size, shuffle=False, verbose=0, sample_weight=weights,
        validation_data=(x, y), validation_batch_size=4,
    ).history
    return classifier, log

GQ, Penalty = keras_lodin.GQModel, keras_lodin.GradientPenaltyModel
"""

# By name: network, model, what its penalty weighs, and options of the training.
CASES = """
CASES = {
    "exact": (dense, GQ, 0.1, {}),
    "pooled": (dense, lambda net: GQ(net, form="pooled"), 0.1, {}),
    "logits": (dense, lambda net: GQ(net, form="logits"), 0.1, {}),
    "share": (dense, lambda net: GQ(net, form="share"), 0.1, {}),
    "in chunks": (dense, lambda net: GQ(net, chunk_size=1), 0.1, {}),
    "sampled": (dense, lambda net: GQ(net, estimator="sampled"), 0.1, {}),
    "projected": (dense, lambda net: GQ(net, estimator="projected"), 0.1, {}),
    "penalty": (dense, Penalty, 0.1, {}),
    "convolutions": (convolutional, GQ, 0.1, {}),
    "convolutions, penalty": (convolutional, Penalty, 0.1, {}),
    "several exits": (exits, GQ, 0.2, {}),
    "weights of zero": (dense, GQ, 0.1, {"weights": np.zeros(5, "float32")}),
    "one sample a batch": (dense, GQ, 0.1, {"batch_size": 1}),
}
"""

EMPTY = (
    START
    + CASES
    + """
for name in sys.argv[1:]:
    network, model, weight, options = CASES[name]
    _, expected = trained(two, network, lambda net: GQ(net, 0.0), **options)
    _, log = trained(two, network, model, **options)
    (penalty,) = set(log) - set(expected)
    assert np.isfinite(log[penalty]).all(), name
    log["loss"][0] -= weight * log[penalty][0]
    for key in expected:
        np.testing.assert_allclose(log[key], expected[key], rtol=1e-4, err_msg=f"{name}: {key}")
print("equal")
"""
)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["convolutions"], marks=pytest.mark.slow),
        pytest.param(["exact", "pooled", "logits", "share", "in chunks"], marks=pytest.mark.slow),
        pytest.param(["sampled", "projected", "penalty"], marks=pytest.mark.slow),
        pytest.param(["convolutions, penalty", "several exits"], marks=pytest.mark.slow),
        pytest.param(["weights of zero", "one sample a batch"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_replica_without_samples_leaves_the_log_of_plain_training(names):
    """The last batch has one sample, so that the second replica gets none of it."""
    assert "equal" in run_python(EMPTY, *names)


# What one device trains with the same batches, of which the last has three samples or one.
SAME = """
import json
from pathlib import Path
from keras_lodin.gradients import replicas_of
from keras_lodin.models.networks import NETWORKS
from keras_lodin.workflows import train

# Half of the time of a small graph's first run.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
# TensorFlow mixes up what two strategies of a process exchange: the one that `train` takes.
with replicas_of("mirrored") as replicas, replicas.scope():
    two = tf.distribute.get_strategy()
SAME = {
    "exact": lambda net: GQ(net, 0.5),
    "every second": lambda net: GQ(net, 0.5, every=2),
    "plain": lambda net: GQ(net, 0.0),
    "penalty": lambda net: Penalty(net, 0.5),
}
for name in sys.argv[2:]:
    for batch_size in (4, 3) if name == "exact" else (3,):
        (alone, before), (shared, log) = (
            trained(strategy, dense, SAME[name], rate=0.5, batch_size=batch_size)
            for strategy in (one, two)
        )
        for ours, expected in zip(shared.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6, err_msg=name)
        for key, values in before.items():
            np.testing.assert_allclose(log[key], values, rtol=1e-5, err_msg=f"{name}: {key}")

# A run, whose epoch ends with 55 images of 64.
NETWORKS["dense"] = lambda num_classes, input_shape: keras.Sequential(
    [keras.Input(input_shape), layers.Flatten(), layers.Dense(num_classes)]
)
settings = {"id": "digits:0-6", "model": "dense", "gq_weight": 0.1, "epochs": 1, "verbose": 0}
runs = [
    train(output=f"{sys.argv[1]}/{strategy}", strategy=strategy, **settings)
    for strategy in (None, "mirrored")
]
found = [json.loads((run / "run.json").read_text()) for run in runs]
for before, now in zip(*(one["history"] for one in found), strict=True):
    for key, value in before.items():
        np.testing.assert_allclose(now[key], value, rtol=1e-4, err_msg=key)
networks = [keras.models.load_model(run / "model.keras").get_weights() for run in runs]
for ours, expected in zip(*networks, strict=True):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
assert "replicas" not in found[0] and found[1]["replicas"] == 2, found
for more, message in (
    ({"strategy": "mirrored", "batch_size": 65}, "must be a multiple of 2"),
    ({"strategy": "no strategy"}, "must be None or 'mirrored' or 'multi-worker'"),
    ({"strategy": "multi-worker"}, "in which TensorFlow is at work"),
):
    try:
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]},
             "task": {"type": "worker", "index": 0}}
        )
        train(output=f"{sys.argv[1]}/refused", **settings, **more)
    except ValueError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
assert not Path(sys.argv[1], "refused").exists()
print("the same")
"""


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([], id="a run alone"),
        pytest.param(["exact", "every second", "plain", "penalty"], marks=pytest.mark.slow),
    ],
)
def test_two_replicas_end_where_one_does_and_report_the_same(names, tmp_path):
    assert "the same" in run_python(START + SAME, tmp_path, *names)


@pytest.mark.slow
def test_a_replica_without_samples_leaves_weights_that_are_numbers():
    script = """
for settings in ({}, {"estimator": "sampled"}, {"estimator": "projected"}):
    classifier, log = trained(two, normalized, lambda net: GQ(net, **settings), rate=0.1)
    assert np.isfinite([*log.values()]).all(), settings
    for variable in classifier.trainable_variables:
        first, second = (copy.numpy() for copy in variable.value.values)
        np.testing.assert_array_equal(first, second, err_msg=str(settings))
    assert all(np.isfinite(weight).all() for weight in classifier.get_weights()), settings
print("finite")
"""
    assert "finite" in run_python(START + script)


@pytest.mark.slow
def test_replicas_draw_apart_and_the_first_as_one_device_and_no_batch_is_lost():
    script = """
draw = lambda seed, step: keras.random.normal((4,), seed=StepSeeds(seed, step))
for seed, step in ((0, 0), (5, 0), (5, 1), (2**31 - 1, 7)):
    alone = draw(seed, step).numpy()
    first, second = two.run(tf.function(lambda: draw(seed, step))).values
    np.testing.assert_array_equal(first, alone)
    assert not np.isclose(first, second).any()

class Seen(layers.Layer):
    def call(self, inputs):
        note = lambda values: seen.update(values.numpy().ravel().tolist())
        tf.py_function(note, [inputs[:, 0]], [])
        return inputs

def numbers(first):
    while True:
        yield np.full((4, 2), first, "float32"), np.zeros(4, "int64")
        first += 1

for strategy in (one, two):
    seen = set()
    with strategy.scope():
        classifier = keras.Sequential([keras.Input((2,)), Seen(), layers.Dense(3)])
        model = GQ(classifier, form="pooled")
        model.compile("sgd", WITH_LOGITS, metrics=["accuracy"])
    model.fit(
        numbers(0), steps_per_epoch=2, epochs=2, verbose=0, shuffle=False,
        validation_data=numbers(100), validation_steps=1,
    )
    # Keras looks at the first batches of a generator for every validation again.
    assert sorted(number for number in seen if number < 100) == [0, 1, 2, 3], seen
    assert 100 in seen, seen
print("apart")
"""
    assert "apart" in run_python(START + script)
