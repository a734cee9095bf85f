"""What the constructor of a detector takes and refuses: classifiers of every kind, and settings."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_lodin
from tests import networks

INPUTS = np.random.default_rng(0).uniform(size=(4, 6)).astype("float32")


def head(x, activation=None):
    return layers.Dense(3, activation=activation)(x)


class Own(keras.Model):
    """A subclassed classifier that returns its logits in a structure."""

    def __init__(self, structure):
        super().__init__()
        self.structure = structure
        self.head = layers.Dense(3)

    def call(self, inputs):
        logits = self.head(inputs)
        return {"list": [logits], "tuple": (logits,), "dict": {"species": logits}}[self.structure]


def own(structure):
    model = Own(structure)
    model(INPUTS)
    return model


def functional(outputs, inputs=None, **options):
    """A functional classifier whose outputs are a function of the logits."""
    x = keras.Input((6,), **options)
    given = x if inputs is None else inputs(x)
    return keras.Model(given, outputs(head(x)))


def around(inner):
    return keras.Sequential([keras.Input((6,)), inner])


STRUCTURES = {
    "dict": lambda: functional(lambda x: {"species": x}),
    "list": lambda: functional(lambda x: [x]),
    "tuple": lambda: functional(lambda x: (x,)),
    "dict of probabilities": lambda: functional(lambda x: {"species": layers.Softmax()(x)}),
    "dict within a dict": lambda: functional(lambda x: {"heads": {"species": x}}),
    "dict of one input": lambda: functional(
        lambda x: x, lambda x: {"features": x}, name="features"
    ),
    "list of one input": lambda: functional(lambda x: {"species": x}, lambda x: [x]),
    "dict, in a sequential": lambda: around(functional(lambda x: {"species": x})),
    "dict of probabilities, in a sequential": lambda: around(
        functional(lambda x: {"species": layers.Softmax()(x)})
    ),
    "subclassed, dict": lambda: own("dict"),
    "subclassed, list": lambda: own("list"),
    "subclassed, tuple": lambda: own("tuple"),
    "sparse input": lambda: functional(lambda x: x, sparse=True),
    "batch size that is not used": lambda: functional(lambda x: x, batch_size=7),
    "float64 input": lambda: functional(lambda x: x, dtype="float64"),
}


@pytest.mark.grid(6)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_one_output_may_be_in_any_structure(structure):
    classifier = STRUCTURES[structure]()
    structure = getattr(classifier, "input", None)
    given = {"features": INPUTS} if isinstance(structure, dict) else INPUTS
    (expected,) = keras.tree.flatten(classifier.predict(given, verbose=0))

    msp = keras_lodin.MSPDetector(classifier)
    odin = keras_lodin.ODINDetector(classifier)

    for detector in (msp, odin):
        logits = detector(INPUTS)["logits"]
        found = logits if detector.from_logits else tf.nn.softmax(logits)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    msp.calibrate(INPUTS, tpr=0.5, verbose=0)
    model = keras_lodin.GQModel(classifier)
    np.testing.assert_allclose(model(INPUTS), expected, rtol=1e-5, atol=1e-6)


def test_the_endpoint_of_a_saved_model_is_a_classifier(tmp_path):
    plain = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    plain.export(tmp_path / "served", verbose=False)
    served = layers.TFSMLayer(str(tmp_path / "served"), call_endpoint="serving_default")
    inputs = keras.Input((6,))
    expected = keras_lodin.ODINDetector(plain)(INPUTS)
    for classifier in (
        keras.Sequential([keras.Input((6,)), served]),
        keras.Model(inputs, served(inputs)),
        keras.Model(inputs, layers.Softmax()(served(inputs)["output_0"])),
    ):
        detector = keras_lodin.ODINDetector(classifier)
        detector.calibrate(INPUTS, tpr=0.5, verbose=0)
        for name in ("logits", "score"):
            np.testing.assert_allclose(detector(INPUTS)[name], expected[name], rtol=1e-4, atol=1e-6)


def exits_by_name():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3)(inputs)
    early = layers.GlobalAveragePooling2D()(x)
    late = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    return keras.Model(inputs, {"a": head(early), "b": head(late)})


def test_exits_may_have_names():
    detector = keras_lodin.MOODDetector(exits_by_name(), boundaries=None)
    images = np.random.default_rng(0).uniform(size=(12, 8, 8, 1)).astype("float32")
    detector.adapt(images, verbose=0)
    assert detector(images)["logits"].shape == (12, 3)


def strings():
    read = layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=4)
    return keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            read,
            layers.Embedding(5, 3),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def two_inputs():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    return keras.Model(inputs, head(layers.Concatenate()(inputs)))


def fixed_batch():
    inputs = keras.Input((6, 2), batch_size=8)
    return keras.Model(inputs, head(layers.LSTM(4, stateful=True)(inputs)))


REFUSED = {
    "path": (lambda: "classifier.keras", "`keras.models.load_model` makes one of a file"),
    "class": (lambda: Own, "must be a `keras.Model`"),
    "function": (lambda: lambda x: x, "must be a `keras.Model`"),
    "layer": (lambda: layers.Dense(3), "must be a `keras.Model`"),
    "none": (lambda: None, "must be a `keras.Model`"),
    "list": (lambda: [networks.dense()], "must be a `keras.Model`"),
    "unbuilt": (lambda: keras.Sequential([layers.Dense(3)]), "no weights yet"),
    "unbuilt subclass": (lambda: Own("dict"), "no weights yet"),
    "two inputs": (two_inputs, "must take one tensor"),
    "two outputs": (lambda: functional(lambda x: [x, -x]), r"`keras\.Model\(model\.inputs"),
    "two outputs by name": (lambda: functional(lambda x: {"a": x, "b": -x}), "one output"),
    "one unit": (lambda: networks.dense(classes=1), "regression output or a single sigmoid"),
    "no classes": (
        lambda: keras.Sequential([keras.Input(()), layers.Identity()]),
        "logit per class",
    ),
    "map of logits": (
        lambda: keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(3, 1)]),
        "one logit per class",
    ),
    "texts": (strings, r"must take numbers.*`TextVectorization` before it"),
    "batches of one size": (fixed_batch, r"batches of any size.*`keras\.Input\(\(6, 2\)\)`"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize(
    "cls", [keras_lodin.MSPDetector, keras_lodin.ODINDetector, keras_lodin.MahalanobisDetector]
)
def test_what_is_no_classifier_is_refused_with_what_to_do(cls, kind):
    make, message = REFUSED[kind]
    with pytest.raises(ValueError, match=f"(?s){message}.*Received: "):
        cls(make())


NO_NUMBERS = ["0.5", b"1", True, [0.5], np.array([0.5]), np.array([1.0, 2.0]), {}, 1j, float]


@pytest.fixture(scope="module")
def classifier():
    return functional(lambda x: x)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_a_threshold_that_is_no_number_is_refused(value, classifier):
    detector = keras_lodin.MSPDetector(classifier)
    detector.threshold = 0.25
    with pytest.raises(TypeError, match=r"`threshold` must be a number.*Received: threshold="):
        detector.threshold = value
    assert detector.threshold == 0.25


@pytest.mark.parametrize(
    "value",
    [1, 0.5, np.float32(0.5), np.int64(1), np.array(0.5), tf.constant(0.5), -np.inf, np.inf],
    ids=repr,
)
def test_a_threshold_may_be_a_number_of_any_library(value, classifier):
    detector = keras_lodin.MSPDetector(classifier)
    detector.threshold = value
    assert detector.threshold == float(value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, None, np.nan, np.inf, -1.0], ids=repr)
def test_a_temperature_or_epsilon_that_is_none_is_refused(value, classifier):
    odin = keras_lodin.ODINDetector(classifier)
    for name in ("temperature", "epsilon"):
        with pytest.raises(ValueError, match=rf"`{name}` must be.*number.*Received: {name}="):
            keras_lodin.ODINDetector(classifier, **{name: value})
        with pytest.raises(ValueError, match=rf"`{name}` must be.*Received: {name}="):
            setattr(odin, name, value)
    with pytest.raises(ValueError, match=r"`temperature` must be"):
        keras_lodin.EnergyDetector(classifier, temperature=value)


@pytest.mark.parametrize("value", [0, 1e-60, 1e39, 10**400])
def test_a_temperature_that_float32_does_not_hold_is_refused(value, classifier):
    with pytest.raises(ValueError, match=r"`temperature` must be a positive, finite number"):
        keras_lodin.ODINDetector(classifier, temperature=value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shrinkage": "0.5"}, "`shrinkage` must lie between 0 and 1.*'0.5'"),
        ({"shrinkage": True}, "`shrinkage` must lie"),
        ({"shrinkage": [0.5]}, "`shrinkage` must lie"),
        ({"shrinkage": np.nan}, "`shrinkage` must lie"),
        ({"layer_weights": "1"}, "`layer_weights` must hold one finite number.*'1'"),
        ({"layer_weights": ["1"]}, "`layer_weights` must hold"),
        ({"layer_weights": [None]}, "`layer_weights` must hold"),
        ({"layer_weights": [1.0, 2.0]}, "`layer_weights` must hold"),
        ({"epsilon": "0.1"}, "`epsilon` must be a number"),
        ({"class_names": "abc"}, "`class_names` must name each.*a list of texts.*'abc'"),
        ({"class_names": ["a", "b"]}, "`class_names` must name each"),
        ({"class_names": [1, 2, 3]}, "`class_names` must name each"),
        ({"class_names": 3}, "`class_names` must name each"),
        ({"from_logits": "yes"}, "`from_logits` must be True, False, or None.*'yes'"),
        ({"from_logits": 2}, "`from_logits` must be True"),
    ],
)
def test_settings_of_a_wrong_kind_are_refused(options, message, classifier):
    with pytest.raises(ValueError, match=message):
        keras_lodin.MahalanobisDetector(classifier, **options)


@pytest.mark.parametrize(
    "names", [["a", "b", "c"], ("a", "b", "c"), np.array(["a", "b", "c"]), {"a": 0, "b": 1, "c": 2}]
)
def test_class_names_may_be_in_any_collection(names, classifier):
    assert keras_lodin.MSPDetector(classifier, class_names=names).class_names == ("a", "b", "c")


@pytest.mark.parametrize("value", ["0.1", ["a"], [0.1, 0.2], [[0.1]], [-1.0], [True]])
def test_channel_deviations_that_do_not_fit_are_refused(value):
    images = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ValueError, match=r"`channel_std` must hold one positive number.*Received"):
        keras_lodin.ODINDetector(images, channel_std=value if value != [[0.1]] else [[0.1, 0.2]])


@pytest.mark.parametrize("value", ["540", 3, ["a", "b"], [2.0, 1.0], [1.0], [None, None]])
def test_boundaries_that_do_not_fit_are_refused(value):
    with pytest.raises(ValueError, match=r"`boundaries` must be 2 rising sizes.*Received"):
        keras_lodin.MOODDetector(networks.with_exits(), boundaries=value)


FORMS = {
    "list": list,
    "tensors": lambda x: list(tf.constant(x)),
    "lists": lambda x: x.tolist(),
    "named": lambda x: {"features": x},
    "labelled": lambda x: (x, np.zeros(len(x))),
    "data set": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(3),
    "integers": lambda x: x.astype("int64"),
    "float64": lambda x: x.astype("float64"),
}


@pytest.mark.grid(2)
@pytest.mark.parametrize("form", FORMS)
def test_data_in_any_form_are_scored_alike(form, classifier):
    detector = keras_lodin.MSPDetector(classifier)
    data = np.round(INPUTS)

    found = detector.predict(FORMS[form](data), verbose=0)["score"]

    np.testing.assert_allclose(found, detector(data)["score"], rtol=1e-6)


NO_DATA = {
    "none": (None, TypeError, "must be an array"),
    "name": ("digits", TypeError, "keras_lodin.data.load"),
    "complex": (INPUTS + 0j, ValueError, "must be real numbers"),
    "masked": (np.ma.masked_less(INPUTS, 0.5), ValueError, "x.filled"),
    "objects": (INPUTS.astype(object), ValueError, "must be numbers"),
    "ragged": (tf.ragged.constant([[1.0], [1.0, 2.0]]), TypeError, "to_tensor"),
    "sparse": (tf.sparse.from_dense(INPUTS), TypeError, "to_dense"),
    "two sizes": ([np.zeros(6), np.zeros(5)], ValueError, "one size"),
    "one example": (INPUTS[0], ValueError, "batch axis is missing"),
    "other features": (INPUTS[:, :5], ValueError, "do not fit"),
}


@pytest.mark.grid(2)
@pytest.mark.parametrize("entry", ["predict", "predict_on_batch", "calibrate", "__call__", "tune"])
@pytest.mark.parametrize("kind", NO_DATA)
def test_data_that_cannot_be_scored_are_refused_everywhere_in_words(kind, entry, classifier):
    data, error, message = NO_DATA[kind]
    detector = keras_lodin.ODINDetector(classifier)
    with pytest.raises(error, match=message) as refusal:
        getattr(detector, entry)(data)
    assert "Exception encountered when calling" not in str(refusal.value)


@pytest.mark.parametrize("kind", NO_DATA)
def test_and_by_what_else_takes_data(kind, classifier):
    data, error, message = NO_DATA[kind]
    labels = np.arange(4) % 3
    mahalanobis = keras_lodin.MahalanobisDetector(classifier)
    msp = {"msp": keras_lodin.MSPDetector(classifier)}
    for ask in (
        lambda: mahalanobis.adapt(data, labels),
        lambda: keras_lodin.evaluate(msp, (INPUTS, labels), {"x": data}, verbose=0),
        lambda: keras_lodin.gradient_quotient(classifier, data, labels),
    ):
        with pytest.raises((error, ValueError), match=f"{message}|of the same length"):
            ask()


def test_a_detector_composes_with_one_tensor_of_the_right_shape(classifier):
    detector = keras_lodin.MSPDetector(classifier)
    assert detector([keras.Input((6,))])["score"].shape == (None,)
    with pytest.raises(TypeError, match=r"one tensor: join several with `keras\.layers\.Conc"):
        detector([keras.Input((6,)), keras.Input((6,))])
    with pytest.raises(ValueError, match=r"takes shape \(batch, 6\).*Received: .*\(None, 5\)"):
        detector(keras.Input((5,)))


@pytest.mark.parametrize("scores", [0.5, np.zeros((3, 64), "float32")])
def test_p_values_are_of_one_score_for_each_sample(scores, classifier):
    with pytest.raises(ValueError, match=r"one score per sample.*Received: score of shape \("):
        keras_lodin.MSPDetector(classifier).p_value(scores)


def test_statistics_are_for_detectors_that_need_some(classifier):
    detector = keras_lodin.MSPDetector(classifier, name="plain")
    with pytest.raises(ValueError, match=r"need statistics.*Received: 'plain', a MSPDetector"):
        keras_lodin.detectors.adapt_together([detector], np.zeros((2, 3)))
