"""The losses against float64 arithmetic, Keras's own, and what they promise."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from keras_lodin import losses
from tests import networks
from tests.dear import fewer_examples

SAMPLES, CLASSES = 5, 4
NUMBERS = np.array([0, 3, 1, 1, 2])

some_logits = arrays.arrays(
    "float32", (SAMPLES, CLASSES), elements=st.floats(-50, 50, width=32, allow_subnormal=False)
)


def softmax(values):
    values = np.exp(values - values.max(-1, keepdims=True))
    return values / values.sum(-1, keepdims=True)


@fewer_examples
@given(logits=some_logits, temperature=st.sampled_from([0.04, 0.3, 1.0]))
def test_logit_norm_is_the_cross_entropy_of_unit_logits(logits, temperature):
    exact = logits.astype("float64")
    lengths = np.sqrt((exact**2).sum(-1, keepdims=True) + 1e-14)
    unit = exact / lengths / temperature
    shifted = unit - unit.max(-1, keepdims=True)
    expected = np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(SAMPLES), NUMBERS]
    loss = losses.LogitNorm(temperature, reduction="none")
    np.testing.assert_allclose(loss(NUMBERS, logits), expected, rtol=2e-4, atol=2e-5)


def test_longer_logits_do_not_lower_logit_norm(rng):
    logits = rng.normal(size=(SAMPLES, CLASSES)).astype("float32")
    loss = losses.LogitNorm(0.1)
    np.testing.assert_allclose(loss(NUMBERS, 1000.0 * logits), loss(NUMBERS, logits), rtol=1e-4)
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert abs(float(plain(NUMBERS, 1000.0 * logits)) - float(plain(NUMBERS, logits))) > 1.0


def test_logits_of_length_zero_have_a_finite_gradient():
    kernel = keras.Variable(np.zeros((3, CLASSES), "float32"))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = losses.LogitNorm()(NUMBERS, tf.matmul(tf.ones((SAMPLES, 3)), kernel.value))
    assert np.isfinite(tape.gradient(loss, kernel.value)).all()


@fewer_examples
@given(logits=some_logits, smoothing=st.sampled_from([0.0, 0.1, 0.5]))
def test_label_smoothing_is_that_of_keras_for_one_hot_labels(logits, smoothing):
    one_hot = np.eye(CLASSES, dtype="float32")[NUMBERS]
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    ours = losses.LabelSmoothing(smoothing)
    np.testing.assert_allclose(ours(NUMBERS, logits), theirs(one_hot, logits), rtol=1e-5)
    probabilities = softmax(logits.astype("float64")).astype("float32")
    theirs = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    ours = losses.LabelSmoothing(smoothing, from_logits=False)
    np.testing.assert_allclose(
        ours(NUMBERS, probabilities), theirs(one_hot, probabilities), rtol=1e-5
    )


@pytest.mark.parametrize("loss", [losses.LogitNorm(0.2), losses.LabelSmoothing(0.1)])
def test_class_numbers_columns_and_one_hot_rows_are_the_same_labels(loss, rng):
    logits = rng.normal(size=(SAMPLES, CLASSES)).astype("float32")
    forms = [NUMBERS, NUMBERS[:, None], np.eye(CLASSES)[NUMBERS]]
    values = [float(loss(labels, logits)) for labels in forms]
    assert values[0] == values[1] == values[2]


@pytest.mark.grid(2)
@pytest.mark.parametrize("specification", ["logit_norm:0.1", "label_smoothing:0.1"])
def test_a_classifier_learns_and_is_saved_with_the_loss(specification, tmp_path, images, labels):
    classifier = networks.convolutional()
    loss = losses.build(specification, from_logits=True)
    classifier.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    # 80 steps of all images in one epoch: an epoch of one step is mostly overhead.
    eighty = np.tile(images, (80, 1, 1, 1)), np.tile(labels, 80)
    classifier.fit(*eighty, batch_size=len(images), shuffle=False, verbose=0)
    assert classifier.evaluate(images, labels, verbose=0)[1] == 1.0
    classifier.save(tmp_path / "classifier.keras")
    again = keras.models.load_model(tmp_path / "classifier.keras")
    assert again.loss.get_config() == loss.get_config()
    np.testing.assert_allclose(
        again.evaluate(images, labels, verbose=0), classifier.evaluate(images, labels, verbose=0)
    )


def test_names_without_a_value_take_the_usual_one():
    assert losses.build("logit_norm", True).temperature == 0.04
    assert losses.build("label_smoothing", True).smoothing == 0.1
    assert losses.build("label_smoothing:0.2", False).from_logits is False
    plain = losses.build("cross_entropy", False)
    assert isinstance(plain, keras.losses.SparseCategoricalCrossentropy)
    assert plain.get_config()["from_logits"] is False
    assert losses.names() == ["cross_entropy", "logit_norm", "label_smoothing"]


@pytest.mark.parametrize(
    ("specification", "from_logits", "message"),
    [
        ("logit_nrm", True, "Did you mean 'logit_norm'"),
        ("logit_norm:warm", True, "After the colon of a loss comes a number, as in 'logit_norm:"),
        ("logit_norm:0", True, "finite and positive"),
        ("label_smoothing:1", True, "from 0 to below 1"),
        ("cross_entropy:1", True, "takes no value"),
        ("logit_norm", False, "needs a classifier that returns logits"),
    ],
)
def test_wrong_specifications_are_refused(specification, from_logits, message):
    with pytest.raises(ValueError, match=message) as error:
        losses.build(specification, from_logits)
    assert "Received:" in str(error.value)


@pytest.mark.parametrize("shape", [(SAMPLES, 3), (SAMPLES, CLASSES, 1)])
def test_labels_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="Labels must be class numbers"):
        losses.LogitNorm()(np.zeros(shape, "int32"), np.zeros((SAMPLES, CLASSES), "float32"))


@pytest.mark.parametrize("number", [-1, CLASSES])
@pytest.mark.parametrize("name", ["logit_norm", "label_smoothing"])
def test_a_class_number_that_there_is_not_has_no_loss_and_leaves_the_others_theirs(
    name, number, rng
):
    logits = rng.normal(size=(SAMPLES, CLASSES)).astype("float32")
    loss = losses.build(name, True)
    assert np.isnan(loss(np.array([number, *NUMBERS[1:]]), logits))
    loss.reduction = "none"
    each = loss(np.array([number, *NUMBERS[1:]]), logits)
    np.testing.assert_array_equal(each[1:], loss(NUMBERS, logits)[1:])
