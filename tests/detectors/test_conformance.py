"""What every detector promises, whatever its score."""

import math
import zipfile
from fractions import Fraction

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_lodin
from keras_lodin.detectors import registry
from keras_lodin.testing import check_detector
from tests import networks
from tests.detectors import classifiers
from tests.detectors.adapting import adapted
from tests.processes import optimised_as_here, run_python

# A new detector joins here, with options that are not its defaults.
DETECTORS = {
    keras_lodin.ODINDetector: {"temperature": 7.0, "epsilon": 0.003, "input_range": (-1, 2)},
    keras_lodin.MSPDetector: {},
    keras_lodin.MaxLogitDetector: {},
    keras_lodin.EnergyDetector: {"temperature": 2.0},
    keras_lodin.MahalanobisDetector: {
        "layer_weights": [0.5],
        "epsilon": 0.003,
        "shrinkage": 0.2,
        "input_range": (-1, 2),
    },
}
# Read the logits alone, as the one that stays in the fast run does.
OF_A_KIND = (keras_lodin.MSPDetector, keras_lodin.MaxLogitDetector)
# Those that read features, for which they have to see the classifier's layers.
OF_FEATURES = (keras_lodin.MahalanobisDetector,)
NAMES = tuple("abcdefg")
# Options by name, where the defaults leave a way untried.
OF_NAME = {
    "mahalanobis": {"epsilon": 0.003, "shrinkage": 0.2},
    "mood": {"boundaries": (100.0,)},
    "knn": {"bank_size": 50, "k": 2},
    "nnguide": {"bank_size": 50, "k": 2},
}


@pytest.fixture(
    params=[
        pytest.param(cls, id=cls.__name__, marks=[pytest.mark.slow] * (cls in OF_A_KIND))
        for cls in DETECTORS
    ]
)
def make(request):
    """Makes a detector of the class under test, ready to score; options of `DETECTORS` unless told.

    One that needs statistics has those of `data`, or of random inputs.
    """

    def build(classifier, data=None, **options):
        detector = request.param(classifier, **{**DETECTORS[request.param], **options})
        return adapted(detector, data)

    build.cls = request.param
    return build


def refused_for_its_layers(make, classifier):
    """Whether the class reads features, and so rightly refuses a classifier of unknown layers."""
    if make.cls not in OF_FEATURES:
        return False
    with pytest.raises(ValueError, match=r"(cannot be seen: it is a subclassed|Name the layers)"):
        make(classifier)
    return True


@pytest.fixture
def detector(make, classifier):
    return make(classifier, class_names=NAMES)


def as_numpy(outputs):
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


# One with statistics and one that steps on the input; `tests/test_testing.py` has one of the logits
# alone. The others go through all promises in the slow run, and here through those that need no
# graph.
AT_ONCE = {"knn", "odin"}


def named(name, images, rng):
    """A detector by its name, ready to score, and inputs for it."""
    options = {**OF_NAME.get(name, {}), "class_names": NAMES}
    # Only MOOD has to have images; a network of vectors is traced sooner.
    # Behind a ReLU, as several of the detectors need their features.
    classifier = networks.dense(activation="relu")
    inputs = rng.uniform(size=(12, 10)).astype("float32")
    if name == "mood":
        classifier, inputs = networks.with_exits(exits=2), images
    return adapted(registry.build(name, classifier, (-1, 2), **options)), inputs


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in AT_ONCE)) for n in registry.DETECTORS],
)
def test_every_detector_keeps_the_promises(name, images, rng):
    # `tests/export` has every detector in every format.
    check_detector(*named(name, images, rng), formats=[])


@pytest.mark.parametrize("name", [name for name in registry.DETECTORS if name not in AT_ONCE])
def test_every_other_detector_keeps_those_that_need_no_graph(name, images, rng, tmp_path):
    detector, inputs = named(name, images, rng)
    detector.threshold = float(np.median(as_numpy(detector(inputs))["score"]))
    outputs = as_numpy(detector(inputs))
    assert {key: (value.dtype.name, value.shape) for key, value in outputs.items()} == {
        "logits": ("float32", (12, networks.CLASSES)),
        "score": ("float32", (12,)),
        "is_ood": ("bool", (12,)),
        "p_value": ("float32", (12,)),
    }
    assert np.isfinite(outputs["score"]).all()
    assert len(np.unique(outputs["score"])) > 1
    np.testing.assert_array_equal(outputs["is_ood"], outputs["score"] <= detector.threshold)
    detector.save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    assert loaded.config_without_classifier() == detector.config_without_classifier()
    for key, value in as_numpy(loaded(inputs)).items():
        np.testing.assert_allclose(value, outputs[key], rtol=1e-6, err_msg=key)


# --- Outputs ---------------------------------------------------------------------------------


@pytest.mark.grid(4)
def test_logits_are_those_of_the_classifier(detector, images):
    outputs = detector.predict(images, verbose=0)
    np.testing.assert_allclose(
        outputs["logits"], detector.classifier.predict(images, verbose=0), atol=1e-6
    )


def test_scores_are_higher_in_distribution(make, rng):
    near, far = classifiers.easy_data(rng)
    detector = make(classifiers.prototypes(), data=(near, near.argmax(axis=-1)))
    assert as_numpy(detector(near))["score"].min() > as_numpy(detector(far))["score"].max()


@pytest.mark.grid(5)
def test_predict_shows_keras_progress(detector, images, capsys):
    detector.predict(images, verbose=1)
    assert "1/1" in capsys.readouterr().out


# --- Threshold -------------------------------------------------------------------------------


def test_an_uncalibrated_detector_flags_nothing(detector, images):
    assert detector.threshold == -np.inf
    assert not detector.calibrated
    assert detector.tpr is None
    assert not as_numpy(detector(images))["is_ood"].any()


@pytest.mark.grid(12)
@pytest.mark.parametrize("tpr", [0.05, 0.5, 0.9, 0.95, 0.99])
def test_calibration_flags_no_more_than_it_promises(make, rng, tpr):
    detector = make(networks.dense())
    data = rng.uniform(size=(130, 10)).astype("float32")
    threshold = detector.calibrate(data, tpr=tpr)
    outputs = detector.predict(data, batch_size=128, verbose=0)
    assert threshold == detector.threshold
    assert detector.tpr == tpr
    np.testing.assert_array_equal(outputs["is_ood"], outputs["score"] <= threshold)
    passed = int((~outputs["is_ood"]).sum())
    # Of 131 exchangeable samples as many pass as the promise needs, and hardly more: scores that
    # are apart by rounding alone pass together.
    k = math.ceil(Fraction(str(tpr)) * 131)
    assert k <= passed <= k + 2
    assert detector.calibration_count == 130


@pytest.mark.grid(6)
def test_calibration_is_exact_under_ties(make, rng):
    detector = make(networks.dense())
    distinct = rng.uniform(size=(3, 10)).astype("float32")
    lowest, middle, highest = distinct[np.argsort(as_numpy(detector(distinct))["score"])]
    # In multiples of 32: vectorised arithmetic may round the odd rows at the end differently.
    data = np.stack([lowest] * 32 + [middle] * 96 + [highest] * 32)
    for tpr, flagged in ((0.1, 128), (0.19, 128), (0.2, 32), (0.79, 32), (0.8, 0)):
        detector.calibrate(data, tpr=tpr, batch_size=160)
        assert detector.predict_on_batch(data)["is_ood"].sum() == flagged, tpr


@pytest.mark.grid(8)
def test_no_batch_size_moves_a_calibration_sample_across_the_threshold(make, rng):
    detector = make(networks.dense())
    # Every sample stands in several rows of a batch, where arithmetic may round differently.
    data = rng.permutation(np.repeat(rng.uniform(size=(33, 10)), 3, axis=0)).astype("float32")
    detector.calibrate(data, tpr=0.9, batch_size=7)
    expected = detector.predict_on_batch(data)["is_ood"]
    assert (~expected).sum() >= 90
    for size in (1, 16):
        found = detector.predict(data, batch_size=size, verbose=0)["is_ood"]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.grid(3)
@pytest.mark.parametrize(
    ("count", "tpr", "least", "most"),
    [
        (1, 0.95, 19, 0.5),
        (3, 0.95, 19, 0.75),
        (18, 0.95, 19, 0.947),
        (12, 0.93, 14, 0.923),
        (19, 0.951, 20, 0.95),
        (98, 0.99, 99, 0.989),
        (8, 0.9, 9, 0.888),
        (3, 0.8, 4, 0.75),
        (2, 0.75, 3, 0.666),
    ],
)
def test_too_few_samples_promise_nothing_and_say_so(rng, count, tpr, least, most):
    detector = keras_lodin.MSPDetector(networks.dense())
    detector.threshold = 3.0
    data = rng.uniform(size=(least, 10)).astype("float32")
    message = (
        rf"{count} samples cannot show that {100 * tpr:g} % .* takes {least} at least.* nothing is "
        rf"called .* `tpr` of {most} or less. Received: {count} samples, tpr={tpr}"
    )
    with pytest.warns(UserWarning, match=message):
        assert detector.calibrate(data[:count], tpr=tpr) == -np.inf
    assert not detector.calibrated
    assert (detector.tpr, detector.calibration_count) == (None, None)
    assert "no threshold" in detector.promise()
    detector.calibrate(data[:count], tpr=most)
    assert detector.calibrated
    assert (detector.tpr, detector.calibration_count) == (most, count)
    detector.calibrate(data, tpr=Fraction(str(tpr)))
    assert f"{100 * tpr:g} % of fresh" in detector.promise()
    detector.threshold = 3.0
    assert (detector.tpr, detector.calibration_count) == (None, None)
    assert detector.promise() == "threshold 3, set by hand"


def test_a_confidence_is_promised_and_too_few_samples_for_it_are_told_of(rng):
    detector = keras_lodin.MSPDetector(networks.dense())
    data = rng.uniform(size=(60, 10)).astype("float32")
    message = (
        r"44 samples cannot show that 95 % of fresh data pass with a confidence of 90 %: that "
        r"takes 45 at least.*`tpr` of 0.949 or less. Received: 44 samples, tpr=0.95, confidence=0.9"
    )
    with pytest.warns(UserWarning, match=message):
        assert detector.calibrate(data[:44], confidence=0.9) == -np.inf
    assert detector.confidence is None
    # The p-values need no such number.
    assert detector.p_value_count == 44
    assert detector.calibrate(data[:44], tpr=0.949, confidence=0.9) > -np.inf
    detector.calibrate(data[:45], confidence=0.9)
    assert (detector.tpr, detector.confidence) == (0.95, 0.9)
    assert detector.promise().endswith(
        "95 % of fresh in-distribution data pass with a confidence of 90 %, calibrated on 45 "
        "samples"
    )
    detector.calibrate(data, tpr=0.5)
    average = detector.threshold
    assert detector.confidence is None
    assert detector.calibrate(data, tpr=0.5, confidence=0.99) < average
    detector.threshold = 3.0
    assert detector.confidence is None
    with pytest.raises(ValueError, match="`confidence` must be"):
        detector.calibrate(data, confidence=90)
    assert detector.threshold == 3.0


@pytest.mark.grid(6)
def test_p_values_stay_with_a_threshold_by_hand_and_go_with_the_scores(make, rng):
    detector = make(networks.dense())
    data = rng.uniform(size=(64, 10)).astype("float32")
    np.testing.assert_array_equal(as_numpy(detector(data))["p_value"], 1.0)
    assert detector.p_value_count is None
    detector.calibrate(data, batch_size=64)
    found = as_numpy(detector(data))
    calibration_scores = np.sort(found["score"])
    # A pass of other operations may round a sample's own score to either side of its calibration's.
    slack = 1e-6 * np.abs(found["score"]).max()

    def check(outputs):
        least, most = (
            (1 + np.searchsorted(calibration_scores, outputs["score"] + side, "right")) / 65
            for side in (-slack, slack)
        )
        assert (outputs["p_value"] >= least - 1e-6).all()
        assert (outputs["p_value"] <= most + 1e-6).all()

    check(found)
    detector.threshold = 0.0
    for outputs in (as_numpy(detector(data)), detector.predict(data, batch_size=64, verbose=0)):
        check(outputs)
    # Of scores that were kept, in any form.
    check({**found, "p_value": as_numpy({"p": detector.p_value(found["score"].tolist())})["p"]})
    for forgets in (
        detector.forget_calibration,
        lambda: setattr(detector, "input_range", detector.input_range),
    ):
        detector.calibrate(data)
        forgets()
        assert (detector.p_value_count, detector.calibrated) == (None, False)
        np.testing.assert_array_equal(detector.predict(data, verbose=0)["p_value"], 1.0)


class HalfAnswered(keras.layers.Layer):
    """No answer to inputs whose first value is large."""

    def call(self, inputs):
        return keras.ops.where(inputs[:, :1] > 0.9, np.nan, inputs)


def test_calibration_scores_that_are_nan_count_as_rejected_and_are_told_of(rng):
    model = keras.Sequential([keras.Input((10,)), HalfAnswered(), layers.Dense(3)])
    detector = keras_lodin.EnergyDetector(model)
    data = rng.uniform(0.0, 0.8, size=(99, 10)).astype("float32")
    data[[4, 50], 0] = 1.0
    with pytest.warns(UserWarning, match=r"2 of 99 .* NaN.* count as rejected.* is number 4"):
        detector.calibrate(data, tpr=0.9)
    passed = ~detector.predict(data, verbose=0)["is_ood"]
    assert passed.sum() == 90
    assert not passed[[4, 50]].any()
    p_values = detector.predict(data, verbose=0)["p_value"]
    np.testing.assert_allclose(p_values[[4, 50]], 0.03)
    assert (p_values >= np.float32(0.03)).all()
    with pytest.raises(ValueError, match=r"No threshold lets 0.99 .*Received: 2 of 99 scores NaN"):
        detector.calibrate(data, tpr=0.99)


@pytest.mark.grid(2)
def test_a_file_without_the_notes_of_how_it_was_calibrated_still_loads(make, images, tmp_path):
    """As version 0.1.0 wrote them before there were notes."""
    detector = make(classifiers.dense_softmax())
    detector.calibrate(images, tpr=0.75)
    store = {}
    detector.save_own_variables(store)
    store = {key: value for key, value in store.items() if key.isdigit()}
    fresh = make(classifiers.dense_softmax())
    fresh.load_own_variables(store)
    assert (fresh.threshold, fresh.tpr) == (detector.threshold, 0.75)
    assert fresh.calibration_count is None
    assert fresh.promise().endswith("75 % of fresh in-distribution data pass")
    del store["0"]
    with pytest.raises(ValueError, match="variables"):
        fresh.load_own_variables(store)


# --- Saving ----------------------------------------------------------------------------------

LOAD_AND_SCORE = """
import sys
import keras
folder = sys.argv[1]
classifier = keras.models.load_model(folder + "/classifier.keras")
import keras_lodin
import numpy as np
images = np.load(folder + "/images.npy")
results = {"classifier": classifier.predict(images, verbose=0)}
for path in sys.argv[2:]:
    model = keras.models.load_model(path)
    name = path.split("/")[-1].removesuffix(".keras")
    for output, value in model.predict(images, verbose=0).items():
        results[name + "/" + output] = value
    if isinstance(model, keras_lodin.Detector):
        for attribute in ("threshold", "tpr", "temperature", "epsilon"):
            if hasattr(model, attribute):
                results[name + "/" + attribute] = getattr(model, attribute)
        results[name + "/class_names"] = model.class_names
np.savez(folder + "/results.npz", **results)
"""


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory, pytestconfig):
    """Detectors saved here, and what a fresh process finds in the files."""
    left_out = OF_A_KIND if "not slow" in pytestconfig.option.markexpr else ()
    folder = tmp_path_factory.mktemp("saved")
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).uniform(size=(12, 8, 8, 1)).astype("float32")
    np.save(folder / "images.npy", images)
    classifier = classifiers.dense_softmax()
    saved, paths = {}, []
    for cls, options in DETECTORS.items():
        if cls in left_out:
            continue
        detector = adapted(cls(classifier, class_names=NAMES, **options))
        detector.calibrate(images, tpr=0.75)
        inputs = keras.Input((8, 8, 1))
        outputs = detector(layers.Rescaling(0.5)(inputs))
        composed = keras.Model(inputs, {"verdict": outputs["is_ood"], "score": outputs["score"]})
        for name, model in ((cls.__name__, detector), (f"composed_{cls.__name__}", composed)):
            paths.append(folder / f"{name}.keras")
            model.save(paths[-1])
            saved[name] = model
    classifier.save(folder / "classifier.keras")
    run_python(optimised_as_here(LOAD_AND_SCORE), folder, *paths)
    with np.load(folder / "results.npz") as results:
        return folder, images, saved, dict(results)


@pytest.mark.grid(6)
def test_a_saved_detector_is_the_same_in_a_fresh_process(make, reloaded):
    _, images, saved, results = reloaded
    name = make.cls.__name__
    for output, value in saved[name].predict(images, verbose=0).items():
        np.testing.assert_array_equal(results[f"{name}/{output}"], value)
    assert results[f"{name}/threshold"] == saved[name].threshold
    assert results[f"{name}/tpr"] == 0.75
    assert tuple(results[f"{name}/class_names"]) == NAMES
    for attribute in {"temperature", "epsilon"} & DETECTORS[make.cls].keys():
        assert results[f"{name}/{attribute}"] == DETECTORS[make.cls][attribute]


@pytest.mark.grid(2)
def test_a_detector_inside_a_functional_model_is_the_same_in_a_fresh_process(make, reloaded):
    _, images, saved, results = reloaded
    name = f"composed_{make.cls.__name__}"
    outputs = saved[name].predict(images, verbose=0)
    for output, value in outputs.items():
        np.testing.assert_array_equal(results[f"{name}/{output}"], value)
    inside = saved[make.cls.__name__].predict(0.5 * images, verbose=0)
    np.testing.assert_array_equal(outputs["score"], inside["score"])
    np.testing.assert_array_equal(outputs["verdict"], inside["is_ood"])


def test_the_wrapped_classifier_still_saves_and_loads_without_the_package(reloaded):
    folder, images, saved, results = reloaded
    # Keras imports the modules that are named there.
    with zipfile.ZipFile(folder / "classifier.keras") as archive:
        assert b"keras_lodin" not in archive.read("config.json")
    classifier = saved["EnergyDetector"].classifier
    np.testing.assert_array_equal(results["classifier"], classifier.predict(images, verbose=0))


def test_the_file_holds_the_classifiers_weights_once(make, reloaded):
    folder, _, saved, _ = reloaded
    detector = saved[make.cls.__name__]
    sizes = []
    with (
        zipfile.ZipFile(folder / f"{make.cls.__name__}.keras") as archive,
        archive.open("model.weights.h5") as file,
        h5py.File(file, "r") as weights,
    ):
        weights.visititems(
            lambda name, item: (
                sizes.append(item.size)
                if isinstance(item, h5py.Dataset) and name.split("/")[-1] not in detector._notes
                else None
            )
        )
    of_the_classifier = {id(weight) for weight in detector.classifier.weights}
    own = sum(
        int(np.prod(weight.shape))
        for weight in detector.weights
        if id(weight) not in of_the_classifier
    )
    assert sum(sizes) == detector.classifier.count_params() + own
    assert detector.count_params() == sum(sizes)


@pytest.mark.grid(2)
def test_a_detector_of_a_subclassed_classifier_saves_and_loads(make, images, tmp_path):
    classifier = networks.subclassed()
    if refused_for_its_layers(make, classifier):
        return
    detector = make(classifier)
    detector.calibrate(images, tpr=0.75)
    detector.save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    assert loaded.threshold == detector.threshold
    assert loaded.calibration_count == 12
    np.testing.assert_array_equal(
        as_numpy(loaded(images))["score"], as_numpy(detector(images))["score"]
    )


# --- The classifier --------------------------------------------------------------------------


@pytest.mark.grid(4)
def test_the_users_classifier_is_left_as_it_was(make, images, tmp_path):
    classifier = classifiers.dense_softmax()
    before = (
        classifier.get_weights(),
        classifier.predict(images, verbose=0),
        classifier.get_config(),
        list(classifier.layers),
        classifier.layers[-1].activation,
        [layer.trainable for layer in classifier.layers],
    )
    detector = make(classifier)
    detector.calibrate(images, tpr=0.75)
    detector.predict(images, verbose=0)
    detector.save(tmp_path / "detector.keras")
    for old, new in zip(before[0], classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(before[1], classifier.predict(images, verbose=0))
    assert detector.classifier is classifier
    assert before[2:] == (
        classifier.get_config(),
        list(classifier.layers),
        classifier.layers[-1].activation,
        [layer.trainable for layer in classifier.layers],
    )


@pytest.mark.grid(30)
@pytest.mark.parametrize("writing", classifiers.WRITINGS)
def test_every_writing_of_a_classifier_has_the_scores_of_its_logits(make, writing, images):
    reference = classifiers.logits()
    model = classifiers.WRITINGS[writing]()
    model.set_weights(reference.get_weights())
    if writing.startswith("subclassed") and refused_for_its_layers(make, model):
        return
    outputs, expected = as_numpy(make(model)(images)), as_numpy(make(reference)(images))
    np.testing.assert_allclose(outputs["logits"], expected["logits"], atol=1e-6)
    np.testing.assert_allclose(outputs["score"], expected["score"], rtol=1e-5, atol=1e-6)


@pytest.mark.grid(2)
def test_a_softmax_head_without_bias_is_understood(make, images):
    model = classifiers.softmax_without_bias()
    logits = np.log(model.predict(images, verbose=0))
    found = as_numpy(make(model)(images))["logits"]
    found, logits = (values - values.max(axis=1, keepdims=True) for values in (found, logits))
    np.testing.assert_allclose(found, logits, atol=1e-5)


@pytest.mark.grid(2)
def test_from_logits_can_be_said(make, images):
    logits, softmax = classifiers.logits(), classifiers.dense_softmax()
    softmax.set_weights(logits.get_weights())
    expected = as_numpy(make(logits)(images))["score"]
    for model, from_logits in ((logits, True), (softmax, False)):
        detector = make(model, from_logits=from_logits)
        assert detector.from_logits is from_logits
        found = as_numpy(detector(images))["score"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for model, from_logits in ((logits, False), (softmax, True)):
        with pytest.raises(ValueError, match=rf"which `from_logits={from_logits}` says.*Received"):
            make(model, from_logits=from_logits)


@pytest.mark.grid(9)
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (networks.dense, (10,)),
        (networks.series, (20, 3)),
        (networks.convolutional, (8, 8, 1)),
        (networks.residual, (6, 6, 2)),
    ],
)
def test_inputs_of_any_rank_are_scored(make, model, shape, rng):
    detector = make(model())
    detector.calibrate(rng.uniform(size=(19, *shape)).astype("float32"))
    outputs = detector.predict(rng.uniform(size=(3, *shape)).astype("float32"), verbose=0)
    assert outputs["score"].shape == (3,)


@pytest.mark.grid(4)
def test_inputs_of_free_size_are_scored(make, rng):
    detector = make(networks.residual(shape=(None, None, 2)))
    for size in (5, 9):
        images = rng.uniform(size=(2, size, size, 2)).astype("float32")
        assert detector.predict(images, verbose=0)["score"].shape == (2,)


@pytest.mark.grid(4)
def test_integer_pixels_score_as_the_same_floats(make, images):
    inner = networks.convolutional()
    inputs = keras.Input((8, 8, 1))
    detector = make(keras.Model(inputs, inner(layers.Rescaling(1 / 255)(inputs))))
    pixels = (255 * images).astype("uint8")
    np.testing.assert_array_equal(
        detector.predict(pixels, verbose=0)["score"],
        detector.predict(pixels.astype("float32"), verbose=0)["score"],
    )


@pytest.fixture
def half_precision(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.grid(18)
@pytest.mark.parametrize("half_precision", ["mixed_float16", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_half_precision_classifiers_are_scored_in_float32(make, activation, half_precision, rng):
    inputs = keras.Input((8, 8, 1))
    hidden = layers.Dense(8, activation="tanh")(layers.Flatten()(inputs))
    head = layers.Dense(networks.CLASSES, activation=activation, dtype="float32")
    classifier = keras.Model(inputs, head(hidden))
    detector = make(classifier)
    outputs = detector.predict(rng.uniform(size=(400, 8, 8, 1)).astype("float32"), verbose=0)
    assert classifier.layers[-2].compute_dtype in half_precision
    assert detector.compute_dtype == "float32"
    assert outputs["score"].dtype == outputs["logits"].dtype == np.float32
    assert len(np.unique(outputs["score"])) > 200


# --- Refusals --------------------------------------------------------------------------------


def _two_outputs():
    model = networks.convolutional()
    return keras.Model(model.inputs, [model.output, model.layers[-2].output])


def _two_inputs():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(inputs)))


def _unbuilt():
    return keras.Sequential([layers.Flatten(), layers.Dense(3)])


def _sigmoid():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="sigmoid")])


def _segmentation():
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(3, 1)])


@pytest.mark.grid(3)
@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (_two_outputs, r"must have one output.*Received: 2 outputs, of shapes \["),
        (_two_inputs, r"must take one tensor.*Received: inputs of shape \[\(None, 4\)"),
        (lambda: networks.dense(classes=1), r"a regression output.*Received: output shape .*, 1\)"),
        (_segmentation, r"shape \(batch, classes\).*Received: output shape \(None, 8, 8, 3\)"),
        (_sigmoid, r"ends in a sigmoid.*Expected logits or a softmax.*Received: .*last layer"),
        (_unbuilt, r"no weights yet. Expected a built model.*Received: classifier=<Sequential"),
        (
            lambda: networks.subclassed(activation="softmax"),
            r"probabilities.*Return the logits.*Received: classifier=",
        ),
        (lambda: "resnet.keras", r"must be a `keras.Model`.*Received: classifier='resnet.keras'"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_models_that_are_no_such_classifiers_are_refused(make, classifier, message):
    with pytest.raises(ValueError, match=r"(?s)" + message):
        make(classifier())


def test_a_detector_is_not_wrapped_again(make, classifier):
    with pytest.raises(ValueError, match=r"pass `detector\.classifier`.*Received: classifier=<MSP"):
        make(keras_lodin.MSPDetector(classifier))


@pytest.mark.parametrize("threshold", [np.nan, None])
def test_an_impossible_threshold_is_refused(detector, threshold):
    with pytest.raises(ValueError, match=rf"`threshold` must be.*Received: threshold={threshold}"):
        detector.threshold = threshold


@pytest.mark.grid(2)
def test_calibration_of_a_broken_classifier_says_so(make, classifier, images):
    detector = make(classifier)
    classifier.set_weights([weight * np.nan for weight in classifier.get_weights()])
    with pytest.raises(ValueError, match=r"classifier's weights.*Received: score=nan"):
        detector.calibrate(images)


def test_class_names_of_a_wrong_number_are_refused(make, classifier):
    with pytest.raises(ValueError, match=r"`class_names` must name each of .* 7 .*Received: .*'x'"):
        make(classifier, class_names=["x", "y"])


@pytest.mark.grid(3)
@pytest.mark.parametrize("tpr", [0.0, 1.0, 95, -0.1, np.nan, None])
def test_an_impossible_tpr_is_refused(detector, images, tpr):
    with pytest.raises(ValueError, match=rf"`tpr` must be a fraction.*Received: tpr={tpr}"):
        detector.calibrate(images, tpr=tpr)
    assert not detector.calibrated


def test_unknown_verbosity_is_refused(detector, images):
    with pytest.raises(ValueError, match=r"`verbose` must be 0, 1 or 'auto'. Received: verbose=7"):
        detector.calibrate(images, verbose=7)


@pytest.mark.grid(3)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[:0], r"There is no example"),
        (lambda x: np.repeat(x, 3, axis=-1), r"takes shape \(batch, 8, 8, 1\).*Received: .*8, 3\)"),
        (lambda x: x[..., 0], r"channel axis is missing.*Received: inputs of shape \(12, 8, 8\)"),
        (lambda x: np.where(x == x[3, 0, 0, 0], np.nan, x), r"must be finite. Received: 1 NaN"),
        (lambda x: np.where(x == x[3, 0, 0, 0], np.inf, x), r"Received: 0 NaN and 1 infinite"),
    ],
)
def test_data_that_cannot_be_calibrated_on_is_refused(detector, images, spoil, message):
    with pytest.raises(ValueError, match=message):
        detector.calibrate(spoil(images))
    assert not detector.calibrated


@pytest.mark.grid(2)
@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda x: x[0], "The batch axis is missing"),
        (lambda x: x[..., 0], "The channel axis is missing"),
        (lambda x: np.moveaxis(x, -1, 1), "The channels seem to come first"),
        (lambda x: np.repeat(x, 2, axis=1), "Inputs do not fit"),
    ],
)
def test_predict_refuses_inputs_that_do_not_fit(change, hint, classifier, images):
    fresh, used = (keras_lodin.MSPDetector(classifier) for _ in range(2))
    used.predict(images, verbose=0)
    with pytest.raises(ValueError, match=rf"(?s){hint}.*Received: inputs of shape"):
        fresh.predict(change(images), verbose=0)
    # The second time TensorFlow may keep the shape to itself until the graph runs.
    refusals = (ValueError, tf.errors.InvalidArgumentError)
    with pytest.raises(refusals, match=r"Inputs do not fit|not compatible with expected shape"):
        used.predict(change(images), verbose=0)
