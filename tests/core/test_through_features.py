"""The gradients of all classes from those of a few features, against taking them one by one."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_lodin
from keras_lodin.data.passes import BatchFunction
from keras_lodin.gradients import ForwardPass
from keras_lodin.gradients.norms import norms, norms_of_combinations
from keras_lodin.models.head import find_head
from keras_lodin.quotient import forms
from keras_lodin.quotient.estimators import exact_norms
from keras_lodin.quotient.settings import QuotientSettings
from tests.core import networks
from tests.core.outer_gradient import double_precision, gradients

CLASSES = 11
# XLA compiles for seconds, and TensorFlow's walks with a normalization are traced for some.
DEAR = pytest.mark.slow_on("jax", "tensorflow")


def classifier(normalization=False):
    """Four features, behind which samples may have moved each other."""
    inputs = keras.Input((5, 5, 2))
    x = layers.Conv2D(4, 3)(inputs)
    if normalization:
        x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(layers.Activation("tanh")(x))
    return networks.drawn(keras.Model(inputs, layers.Dense(CLASSES)(x)))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_norms_of_combinations_and_their_derivatives_are_those_of_each(norm, rng):
    """Of two gradients at a time, the last of which is alone."""
    few = rng.normal(size=(2, 3, 4, 5))
    coefficients, added = rng.normal(size=(5, 2)), rng.normal(size=(3, 4, 5))
    if norm == "l2":  # whose derivative at 0 is 0; backends differ about the other's
        few[:, 2] = added[2] = 0.0
    weights = rng.normal(size=(5, 3))

    def derivatives(norms_of):
        few_and_coefficients = [keras.Variable(one, dtype="float64") for one in (few, coefficients)]

        def total(added):
            values = [ops.convert_to_tensor(one) for one in few_and_coefficients]
            return ops.sum(ops.convert_to_tensor(weights) * norms_of(*values, added))

        return gradients(total, added, few_and_coefficients)

    with double_precision():
        found = derivatives(lambda *given: norms_of_combinations(*given, norm))
        expected = derivatives(
            lambda few, coefficients, added: norms(
                ops.tensordot(coefficients, few, axes=1) + added[None], norm
            )
        )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
        assert np.any(other)


def one_by_one(monkeypatch):
    monkeypatch.setattr(QuotientSettings, "linear_end", lambda *_: None)


@pytest.mark.parametrize(
    ("options", "normalization"),
    [
        ({}, False),
        pytest.param({"norm": "l2", "temperature": 3.0}, False, marks=pytest.mark.slow),
        pytest.param({"form": "logits", "chunk_size": 3}, True, marks=DEAR),
    ],
    ids=str,
)
def test_a_training_step_is_that_of_class_by_class(options, normalization, monkeypatch):
    x, y = networks.batch(6)
    ends = []
    for _ in range(2):
        model = classifier(normalization)
        trained = keras_lodin.GQModel(model, gq_weight=1.0, **options)
        trained.compile(
            keras.optimizers.SGD(0.5),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        logs = trained.train_on_batch(x, y, return_dict=True)
        ends.append(
            [*(np.asarray(float(logs[name])) for name in ("loss", "gq")), *model.get_weights()]
        )
        one_by_one(monkeypatch)
    for through_features, directly in zip(*ends, strict=True):
        np.testing.assert_allclose(through_features, directly, rtol=1e-4, atol=1e-5)


@DEAR
def test_samples_that_move_each_other_do_so_class_by_class(rng):
    """In training mode: the gradient of a class is that of the sum of its log-probabilities."""
    _, y = networks.batch(6)
    # Samples that are predicted to be of several classes.
    x = (rng.normal(size=(6, 5, 5, 2)) + 10.0 * rng.normal(size=(6, 1, 1, 2))).astype("float32")
    model = classifier(normalization=True)
    settings = QuotientSettings()
    end = settings.linear_end(find_head(model))

    def norms_of_both_ways(inputs):
        one = ForwardPass.with_features(lambda x: end.outputs(x, training=True), inputs, end.kernel)
        logits = one.logits
        shares = ops.softmax(logits)
        each = ops.eye(CLASSES)[:, None] - shares[None]
        gradients_of_classes = one.input_gradients(each)
        weighted = ops.transpose(shares)[..., None, None, None] * gradients_of_classes
        predicted = forms.predicted_class(logits)
        classes = ops.broadcast_to(ops.arange(CLASSES, dtype="int32")[:, None], (CLASSES, 6))
        others = ops.cast(classes != predicted[None], "float32")[..., None, None, None] * weighted
        # The predicted class's, as all add up to zero where nothing moves the other samples.
        weighted = ops.where(others == 0.0, -ops.sum(others, axis=0), others)
        return {
            "found": exact_norms(one, y, "softmax"),
            "expected": forms.split_by_label(norms(weighted, "l1"), classes, y),
            "rest": ops.exp(forms.log_rest(logits)),
            "predicted": predicted,
        }

    values = BatchFunction(norms_of_both_ways)(x)
    assert len(set(values["predicted"])) > 1
    for found, expected in zip(values["found"], values["expected"], strict=True):
        np.testing.assert_allclose(found * values["rest"], expected, rtol=1e-4)
