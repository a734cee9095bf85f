"""The end of a classifier, told by what it computes: logits, a softmax, sigmoids."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_lodin
from keras_lodin.models.head import find_head
from tests import heads

TOLERANCES = {"mixed_float16": 2e-3, "mixed_bfloat16": 1e-2}


@pytest.fixture
def inputs(rng):
    values = rng.uniform(size=(8, heads.FEATURES)).astype("float32")
    values[:, -3:] *= rng.uniform(size=(8, 3)) > 0.5  # for masks
    return ops.convert_to_tensor(values)


def numbers(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


@pytest.mark.grid(2)
@pytest.mark.parametrize("name", heads.SOFTMAX)
def test_the_softmax_of_the_logits_is_what_the_classifier_returns(name, inputs):
    model = heads.SOFTMAX[name]()
    for told in (None, False):
        head = find_head(model, told)
        assert not head.from_logits
        logits = head.logits(inputs)
        np.testing.assert_allclose(
            numbers(head.output(ops.cast(logits, "float32"))),
            numbers(model(inputs)),
            atol=TOLERANCES.get(name, 1e-6),
        )
        assert name == "weights of zero" or np.ptp(numbers(logits)) > 0.0


@pytest.mark.grid(6)
@pytest.mark.parametrize("name", heads.SOFTMAX)
def test_probabilities_are_not_taken_for_logits(name):
    with pytest.raises(ValueError, match=r"Leave `from_logits` out.*Received: .*from_logits=True"):
        find_head(heads.SOFTMAX[name](), from_logits=True)


@pytest.mark.grid(2)
@pytest.mark.parametrize("name", heads.LOGITS)
def test_logits_are_the_classifiers_own(name, inputs):
    model = heads.LOGITS[name]()
    for told in (None, True):
        head = find_head(model, told)
        assert head.from_logits
        np.testing.assert_array_equal(numbers(head.logits(inputs)), numbers(model(inputs)))
    with pytest.raises(ValueError, match=r"if `from_logits` is left out. Received: .*=False"):
        find_head(model, from_logits=False)


@pytest.mark.grid(3)
@pytest.mark.parametrize("told", [None, True, False])
@pytest.mark.parametrize("name", heads.UNREACHABLE)
def test_probabilities_without_logits_are_refused(name, told):
    with pytest.raises(ValueError, match=r"Return the logits from it.*Received: .*last layer '"):
        find_head(heads.UNREACHABLE[name](), told)


@pytest.mark.grid(6)
@pytest.mark.parametrize("told", [None, True, False])
@pytest.mark.parametrize("name", heads.SIGMOID)
def test_classes_that_are_scored_by_themselves_are_refused(name, told):
    with pytest.raises(ValueError, match=r"do not add up to 1.*`Dense\(classes\)`.*last layer '"):
        find_head(heads.SIGMOID[name](), told)


def test_what_differs_is_said():
    model = heads.UNREACHABLE["a subclass of Dense"]()
    message = r"The SmoothedDense 'smoothed_dense.*' has a softmax, .* by up to 0\.\d+\. "
    with pytest.raises(ValueError, match=message):
        find_head(model)


def test_the_advice_is_right_when_it_is_followed(inputs):
    # A softmax in a layer of its own, after what was the head.
    model = heads.UNREACHABLE["a softmax in a subclass of Dense"]()
    with pytest.raises(ValueError, match=r"plain softmax: `Softmax\(\)`"):
        find_head(model)
    features = keras.Model(model.inputs, model.layers[-2].output)
    followed = keras.Sequential([features, layers.Dense(heads.CLASSES), layers.Softmax()])
    followed(inputs)
    head = find_head(followed)
    np.testing.assert_allclose(head.output(head.logits(inputs)), followed(inputs), atol=1e-6)
    # Logits, and the loss with from_logits=True.
    followed = keras.Sequential([features, layers.Dense(heads.CLASSES)])
    followed(inputs)
    assert find_head(followed, from_logits=True).from_logits


@pytest.mark.grid(4)
@pytest.mark.parametrize("wrap", [keras_lodin.GQModel, keras_lodin.GradientPenaltyModel])
@pytest.mark.parametrize("name", ["a subclass of Dense", "int8", "LoRA", "mask of a layer"])
def test_what_is_trained_is_what_is_deployed(wrap, name, inputs):
    model = heads.SOFTMAX[name]()
    np.testing.assert_allclose(wrap(model)(inputs), model(inputs), atol=1e-6)


@pytest.mark.grid(4)
@pytest.mark.parametrize("change", [heads.add_lora, lambda layer: layer.quantize("int8")])
@pytest.mark.parametrize("make", [heads.SOFTMAX["Dense"], heads.LOGITS["Dense"]])
def test_a_head_that_changes_after_it_was_wrapped_is_followed(make, change, inputs):
    model = make()
    detector = keras_lodin.MaxLogitDetector(model)
    before = detector.predict(inputs, verbose=0)["logits"]
    change(model.layers[-1])
    expected = numbers(model(inputs))
    for logits in (
        detector.predict(inputs, verbose=0)["logits"],
        numbers(detector(inputs)["logits"]),
    ):
        found = logits if detector.from_logits else numbers(ops.softmax(logits))
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.any(logits != before)


def test_a_head_that_has_become_another_function_is_noticed(inputs):
    model = heads.ending_in(heads.dense("softmax"))()
    detector = keras_lodin.MSPDetector(model)
    model.layers[-1].activation = lambda x: ops.softmax(2.0 * x)
    with pytest.raises(ValueError, match=r"has changed since it was wrapped.*differs by 0\.\d+"):
        detector(inputs)


@pytest.mark.parametrize("name", ["a subclass of Dense", "int8", "Softmax over axis 1"])
def test_a_loaded_detector_has_the_logits_of_its_classifier(name, inputs, tmp_path):
    detector = keras_lodin.MSPDetector(heads.SOFTMAX[name]())
    detector.save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    np.testing.assert_allclose(
        numbers(ops.softmax(loaded(inputs)["logits"])),
        numbers(detector.classifier(inputs)),
        atol=1e-5,
    )


@pytest.mark.grid(2)
@pytest.mark.parametrize("activation", ["softmax", None])
def test_the_networks_of_keras_are_understood(activation):
    model = keras.applications.MobileNet(
        (32, 32, 3), alpha=0.25, weights=None, classes=5, classifier_activation=activation
    )
    images = np.random.default_rng(0).uniform(-1, 1, size=(2, 32, 32, 3)).astype("float32")
    head = find_head(model)
    assert head.from_logits == (activation is None)
    found = numbers(head.output(head.logits(images, training=False)))
    np.testing.assert_allclose(found, numbers(model(images, training=False)), atol=1e-6)


@pytest.mark.parametrize("wrap", [keras_lodin.GQModel, keras_lodin.GradientPenaltyModel])
def test_of_a_model_for_training_its_classifier_is_taken(wrap):
    classifier = heads.SOFTMAX["Dense"]()
    trained = wrap(classifier)
    assert keras_lodin.MSPDetector(trained).classifier is classifier
    assert keras_lodin.GQModel(trained).classifier is classifier
    assert find_head(wrap(trained)).classifier is classifier
    with pytest.raises(ValueError, match=r"not a detector.*pass `detector.classifier`"):
        wrap(keras_lodin.MSPDetector(classifier))
