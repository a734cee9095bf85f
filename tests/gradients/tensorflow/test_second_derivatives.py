"""What trains is the derivative of what is logged, or is refused, where TensorFlow is at fault.

Every layer and activation of Keras: `tests/core/test_second_derivatives.py`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_lodin


def response_normalized(x):
    return tf.nn.local_response_normalization(x)


def dilated(x):
    return tf.nn.dilation2d(x, 0.1 * tf.ones((2, 2, 3)), [1] * 4, "SAME", "NHWC", [1] * 4)


def classifier(function):
    inputs = keras.Input((8, 8, 3))
    x = layers.Lambda(function, output_shape=lambda shape: shape)(inputs)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def fitted(model, **options):
    shape = (4, *model.input_shape[1:])
    x = np.random.default_rng(0).uniform(size=shape).astype("float32")
    trained = keras_lodin.GQModel(model, gq_weight=0.3, form="logits", **options)
    trained.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return trained.fit(x, np.arange(4) % 3, verbose=0).history


@pytest.mark.parametrize("function", [response_normalized, dilated])
def test_a_second_derivative_that_tensorflow_lacks_is_refused_in_training_and_only_there(function):
    model = classifier(function)
    images, labels = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)), np.array([0, 1])
    assert np.all(keras_lodin.gradient_quotient(model, images, labels) > 0.0)
    with pytest.raises(ValueError, match=r"has none, or no right one, of .*Received: operation"):
        fitted(model)


def series(*stack):
    return keras.Sequential([keras.Input((3, 4)), *stack, layers.Dense(3)])


@pytest.mark.parametrize(
    "before",
    [
        lambda: layers.GroupNormalization(2),
        pytest.param(lambda: layers.Dense(4, activation="softsign"), marks=pytest.mark.slow),
    ],
    ids=["moments", "softsign"],
)
def test_beside_a_loop_what_tensorflow_gets_wrong_is_refused(before):
    with pytest.raises(ValueError, match=r"unroll=True.*Received: operation"):
        fitted(series(before(), layers.SimpleRNN(3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "before",
    [lambda: layers.GroupNormalization(2), lambda: layers.Dense(4, activation="softsign")],
    ids=["moments", "softsign"],
)
def test_what_that_refusal_advises_works(before):
    assert np.isfinite(fitted(series(before(), layers.SimpleRNN(3, unroll=True)))["gq"]).all()


@pytest.mark.slow
def test_a_loop_alone_is_trained_through():
    assert np.isfinite(fitted(series(layers.SimpleRNN(3)))["gq"]).all()


class InAFunction(layers.Layer):
    """Normalizes in a `tf.function` of its own."""

    def build(self, shape):
        self.inner = layers.BatchNormalization()
        self.inner.build(shape)
        self._call = tf.function(lambda x: self.inner(x, training=True))

    def call(self, x):
        return self._call(x)


@pytest.mark.parametrize("estimator", ["exact", "projected"])
def test_moments_out_of_sight_are_refused(estimator):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(InAFunction()(layers.Dense(5)(inputs))))
    with pytest.raises(ValueError, match="no right one"):
        fitted(model, estimator=estimator)


@pytest.mark.slow
def test_eager_training_takes_the_same_steps_as_a_traced_one():
    def trained(**options):
        keras.utils.set_random_seed(3)
        stack = layers.Conv1D(4, 3), layers.BatchNormalization(), layers.Activation("tanh")
        model = series(*stack, layers.Flatten())
        wrapped = keras_lodin.GQModel(model, gq_weight=0.3, form="logits")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        wrapped.compile("sgd", loss, **options)
        x = np.random.default_rng(0).uniform(size=(4, 3, 4)).astype("float32")
        wrapped.fit(x, np.arange(4) % 3, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    for eager, traced in zip(trained(run_eagerly=True), trained(), strict=True):
        np.testing.assert_allclose(eager, traced, rtol=1e-5, atol=1e-6)


def test_a_double_precision_classifier_is_trained():
    model = keras.Sequential(
        [keras.Input((6, 4), dtype="float64"), layers.Flatten(), layers.Dense(3, dtype="float64")]
    )
    assert np.isfinite(fitted(model)["loss"]).all()


def normalized_network(widths):
    inputs = keras.Input((5, 5, 2), dtype="float64")
    x = inputs
    for filters in widths:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, dtype="float64")(x)
        x = layers.BatchNormalization(dtype="float64")(x)
        x = layers.Activation("softplus", dtype="float64")(x)
    x = layers.GlobalAveragePooling2D(dtype="float64")(x)
    return keras.Model(inputs, layers.Dense(4, dtype="float64")(x))


@pytest.mark.grid(2)
@pytest.mark.parametrize(
    "settings",
    [
        {"form": "softmax"},
        {"form": "logits"},
        pytest.param({"form": "share"}, marks=pytest.mark.slow),
        {"form": "pooled"},
        pytest.param({"form": "softmax", "chunk_size": 2}, marks=pytest.mark.slow),
        # Not sampled in the softmax form: what it draws with moves with the network, and is held.
        {"form": "logits", "estimator": "sampled"},
        {"form": "logits", "estimator": "projected"},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
@pytest.mark.parametrize("widths", [(3,), pytest.param((3, 4), marks=pytest.mark.slow)], ids=str)
def test_a_step_of_training_follows_the_quotient_that_it_logs(settings, widths, rng):
    """With BatchNormalization in training mode, which every form and estimator went wrong at."""
    model = normalized_network(widths)
    start = [variable.numpy() for variable in model.variables]
    places = [n for n, v in enumerate(model.variables) if "kernel" in v.path]
    direction = {n: rng.normal(size=start[n].shape) for n in places}
    x, y = rng.normal(size=(10, 5, 5, 2)), np.arange(10) % 4
    trained = keras_lodin.GQModel(model, gq_weight=1.0, seed=3, norm="l2", **settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.SGD(1.0), loss, loss_weights=0.0)

    def step(distance):
        for place, variable in enumerate(model.variables):
            variable.assign(start[place] + distance * direction.get(place, 0.0))
        # What is drawn follows from the step's number.
        trained.optimizer.iterations.assign(0)
        before = [variable.numpy() for variable in model.variables]
        # The size of a batch is free, as a last one is smaller in most trainings.
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(6).take(1)
        value = trained.fit(data, shuffle=False, verbose=0).history["gq"][0]
        after = [variable.numpy() for variable in model.variables]
        return value, sum(np.vdot(before[n] - after[n], direction[n]) for n in places)

    distance = 2e-3
    slope = (step(distance)[0] - step(-distance)[0]) / (2 * distance)
    assert step(0.0)[1] == pytest.approx(slope, rel=5e-3, abs=1e-4)
