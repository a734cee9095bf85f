import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_lodin.gradients.tensorflow import PenaltyStep
from keras_lodin.utils import keras_internals


class Squares(PenaltyStep, keras.Sequential):
    """Penalises the logits' squares, and counts how often its step is traced."""

    traces = 0

    def train_step(self, data):
        self.traces += 1
        return super().train_step(data)

    def checked_batch(self, data):
        return keras_internals.unpack_x_y_sample_weight(self.prepared_batch(data))

    def prepared_batch(self, data):
        return data

    def penalty_is_due(self):
        return True

    def penalized_loss(self, x, y, sample_weight, due):
        logits = self(x, training=True)
        loss = keras_internals.compute_loss(self, x, y, logits, sample_weight)
        penalty = ops.mean(logits**2)
        return loss + penalty, logits, penalty

    def track_penalty(self, penalty, due, batch_size):
        pass

    def without_penalty(self, logs):
        return {name: value for name, value in logs.items() if name != "penalty"}


@pytest.fixture
def model():
    model = Squares([keras.Input((4,)), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


@pytest.fixture
def batch(rng):
    return rng.normal(size=(6, 4)).astype("float32"), rng.integers(0, 3, 6)


def test_a_training_step_is_traced_once_and_no_batch_is_drawn_for_it(model, batch):
    starts = []

    def batches():
        starts.append(None)
        while True:
            yield batch

    specs = tuple(tf.TensorSpec(array.shape, array.dtype) for array in batch)
    data = tf.data.Dataset.from_generator(batches, output_signature=specs)
    model.fit(data, steps_per_epoch=2, shuffle=False, verbose=0)
    assert model.traces == 1
    assert len(starts) == 1


def test_a_wrong_batch_is_refused_by_the_step(model, batch):
    x, y = batch
    with pytest.raises(ValueError, match="expected axis -1"):
        model.fit(x[:, :3], y, verbose=0)


def test_a_step_follows_the_loss_with_its_penalty(model, batch):
    model.compile(keras.optimizers.SGD(0.1), model.loss)
    x, y = batch
    kernel = model.layers[0].kernel
    before = np.array(kernel)
    with tf.GradientTape() as tape:
        logits = model(x)
        loss = model.loss(y, logits) + tf.reduce_mean(logits**2)
    expected = before - 0.1 * tape.gradient(loss, kernel.value).numpy()
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(kernel, expected, rtol=1e-5)
    assert logs["loss"] == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("functions_run_eagerly", [False, True])
def test_the_penalty_is_computed_in_a_graph_however_the_rest_is_run(
    functions_run_eagerly, model, batch, monkeypatch
):
    """TensorFlow's own second derivatives are wrong in part; the package's need a graph."""
    in_a_graph = []

    def compute_loss(*arguments, compute=keras_internals.compute_loss):
        in_a_graph.append(not tf.executing_eagerly())
        return compute(*arguments)

    monkeypatch.setattr(keras_internals, "compute_loss", compute_loss)
    model.compile("adam", model.loss, run_eagerly=True)
    tf.config.run_functions_eagerly(functions_run_eagerly)
    try:
        model.train_on_batch(*batch)
    finally:
        tf.config.run_functions_eagerly(False)
    assert in_a_graph
    assert all(in_a_graph)
