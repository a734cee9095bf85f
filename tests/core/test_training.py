"""Training with the Gradient Quotient on every backend."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_lodin
from tests.core import expected, networks

EXPECTED = np.load(expected.FOLDER / "expected.npz")
# On TensorFlow tests/training tries it all; XLA compiles for seconds.
pytestmark = pytest.mark.slow_on("tensorflow")
COMPILED = pytest.mark.slow_on("jax", "tensorflow")
# With a normalization they go through all that they go through without it, and in chunks through
# what `test_chunks_give_the_same_norms` compares.
DEAR = (
    "l2",
    "hot",
    "second step",
    "in chunks",
    *(f"{name} softmax" for name in networks.ACTIVATIONS),
)
TRAININGS = [
    pytest.param(key, marks=COMPILED) if key.endswith(DEAR) else key for key in expected.TRAININGS
]
STOCHASTIC = [
    pytest.param({"estimator": "sampled", "samples": 2}, marks=COMPILED),
    pytest.param({"estimator": "sampled", "form": "logits"}, marks=COMPILED),
    {"estimator": "projected", "samples": 2},
]


@pytest.mark.parametrize("key", TRAININGS)
def test_two_steps_end_where_those_of_tensorflow_do(key):
    for name, value in expected.after_training(*expected.TRAININGS[key]).items():
        np.testing.assert_allclose(value, EXPECTED[f"trained {key}: {name}"], rtol=2e-4, atol=2e-5)


def compiled(settings, model=None, weight=0.5, **options):
    model = model or networks.classifier("softplus", normalization=True)
    trained = keras_lodin.GQModel(model, gq_weight=weight, seed=0, **settings)
    trained.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **options,
    )
    return trained


@pytest.mark.parametrize("settings", STOCHASTIC, ids=str)
def test_what_is_drawn_follows_from_seed_and_step(settings):
    x, y = networks.batch(8)
    trained, again = compiled(settings), compiled(settings)
    before = trained.get_weights()

    def logs(model, steps):
        return [float(model.train_on_batch(x, y, return_dict=True)["gq"]) for _ in range(steps)]

    both = logs(trained, 2)
    assert np.isfinite(both).all()
    assert both == pytest.approx(logs(again, 2), rel=1e-6)
    # Not what another step drew: the first quotient is that of the same weights.
    trained.set_weights(before)
    trained.optimizer.iterations.assign(1)
    assert logs(trained, 1)[0] != pytest.approx(both[0], rel=1e-4)


@COMPILED
@pytest.mark.parametrize(
    "settings",
    [{}, {"chunk_size": 2}, {"estimator": "sampled"}, {"estimator": "projected"}],
    ids=str,
)
@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": True}], ids=str)
def test_a_step_is_the_same_compiled_or_not(settings, options):
    if keras.backend.backend() == "torch" and "jit_compile" in options:
        pytest.skip("torch.compile is not required, and needs a compiler of C++")
    if (
        keras.backend.backend() == "tensorflow"
        and "jit_compile" in options
        and "estimator" in settings
    ):
        pytest.skip("XLA draws other numbers than TensorFlow does, from the same seed")
    x, y = networks.batch(8)
    weights = []
    for choice in ({"jit_compile": False}, options):
        trained = compiled(settings, **choice)
        trained.train_on_batch(x, y)
        weights.append(trained.classifier.get_weights())
    for plain, other in zip(*weights, strict=True):
        np.testing.assert_allclose(plain, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [pytest.param({"form": "pooled"}, marks=COMPILED), *STOCHASTIC], ids=str
)
def test_half_precision_trains(settings):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = networks.classifier("softplus", normalization=True)
    finally:
        keras.config.set_dtype_policy(before)
    x, y = networks.batch(8)
    trained = compiled(settings, model)
    halved = trained.train_on_batch(x, y, return_dict=True)
    whole = compiled(settings).train_on_batch(x, y, return_dict=True)
    assert float(halved["loss"]) == pytest.approx(float(whole["loss"]), rel=0.05)
    assert float(halved["gq"]) == pytest.approx(float(whole["gq"]), rel=0.1)


def test_normalization_is_updated_once_a_step():
    x, y = networks.batch(8)
    moved = {}
    for name, weight in (("with", 0.5), ("without", 0.0)):
        trained = compiled({}, weight=weight)
        trained.train_on_batch(x, y)
        moved[name] = ops.convert_to_numpy(
            trained.classifier.get_layer("normalization").moving_variance
        )
    np.testing.assert_allclose(moved["with"], moved["without"], rtol=1e-6)


@pytest.mark.parametrize("settings", [pytest.param({}, marks=COMPILED), {"every": 3}], ids=str)
def test_a_batch_with_a_nan_is_refused_and_the_weights_stay(settings):
    trained = compiled(settings)
    x, y = networks.batch(12)
    trained.fit(x[:6], y[:6], verbose=0)
    before = trained.classifier.get_weights()
    x[2, 0, 0, 0] = np.nan
    with pytest.raises(Exception, match="needs finite inputs"):
        trained.fit(x[:6], y[:6], verbose=0)
    for kept, weight in zip(before, trained.classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)
    trained.fit(x[6:], y[6:], verbose=0)


@pytest.fixture(scope="module")
def trained():
    """What some tests train by batches of six, whatever its weights: compiled once."""
    return compiled({})


def test_a_failing_call_of_keras_leaves_the_weights(trained):
    x, y = networks.batch(6)
    trained.fit(x, y, verbose=0)
    before = trained.classifier.get_weights()
    for failing in (
        lambda: trained.predict(x[:, :1], verbose=0),
        lambda: trained.fit(x[:, :, :, :1], y, verbose=0),
    ):
        with pytest.raises(Exception, match=r".+"):
            failing()
        for kept, weight in zip(before, trained.classifier.get_weights(), strict=True):
            np.testing.assert_array_equal(kept, weight)


def test_a_callback_may_wrap_a_classifier_while_another_trains(trained):
    """Of whole numbers, which is found out by running it."""
    inputs = keras.Input((6,), dtype="uint8")
    outputs = keras.layers.Dense(3)(keras.layers.Rescaling(1 / 255)(inputs))
    pixels = networks.drawn(keras.Model(inputs, outputs))
    made = []

    class Wrapping(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            made.append(keras_lodin.ODINDetector(pixels))

    x, y = networks.batch(6)
    trained.fit(x, y, verbose=0, callbacks=[Wrapping()])
    assert made[0].input_range == (0.0, 255.0)


def test_the_log_of_validation_and_of_evaluation_has_no_quotient(trained):
    x, y = networks.batch(6)
    history = trained.fit(x, y, validation_data=(x, y), verbose=0).history
    assert set(history) == {"loss", "gq", "val_loss"}
    assert set(trained.evaluate(x, y, verbose=0, return_dict=True)) == {"loss"}


def test_several_exits_and_added_losses_train():
    model = networks.with_exits()
    trained = keras_lodin.GQModel(model, gq_weight=0.1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile("sgd", [loss] * 3)
    x, y = networks.batch(8, (8, 8, 1))
    assert np.isfinite(trained.fit(x, y, verbose=0).history["gq"]).all()

    class Adding(keras.layers.Layer):
        def call(self, x):
            self.add_loss(7.0 * ops.mean(ops.ones_like(x)))
            return x

    inputs = keras.Input((6,))
    outputs = keras.layers.Dense(3, kernel_regularizer="l2")(Adding()(inputs))
    model = networks.drawn(keras.Model(inputs, outputs))
    losses = [
        compiled({}, model, weight).train_on_batch(np.ones((2, 6)), np.array([0, 1]))
        for weight in (1e-9, 0.0)
    ]
    assert np.ravel(losses[0])[0] == pytest.approx(np.ravel(losses[1])[0], rel=0.05)
    assert np.ravel(losses[0])[0] > 7.0


def test_a_gradient_penalty_trains():
    trained = keras_lodin.GradientPenaltyModel(networks.classifier(), input_range=(0, 1))
    trained.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = networks.batch(8)
    assert np.isfinite(trained.fit(x, y, verbose=0).history["loss"]).all()


def test_a_classifier_without_a_gradient_is_refused():
    inputs = keras.Input((6,))
    rounded = keras.layers.Lambda(ops.round, output_shape=(6,))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(rounded))
    with pytest.raises(ValueError, match="has none"):
        keras_lodin.GQModel(model)


def test_quotients_of_every_sample_are_those_of_tensorflow():
    for name, value in expected.quotients().items():
        np.testing.assert_allclose(value, EXPECTED[f"quotient: {name}"], rtol=1e-4, atol=1e-5)
