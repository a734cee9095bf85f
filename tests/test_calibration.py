"""Choosing temperature and epsilon from in-distribution data alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import keras_lodin
from keras_lodin.calibration import EPSILONS, TEMPERATURES, Tuning, scrambled
from keras_lodin.metrics import auroc
from tests import networks

FEW = {"temperatures": (1.0, 1000.0), "epsilons": (0.0, 0.005, 0.02), "verbose": 0}


@pytest.fixture
def id_images(rng):
    """Smooth images, which scrambling breaks."""
    phase, place = rng.uniform(0, 6, size=(30, 1, 1, 1)), np.linspace(0, 3, 8)
    waves = 0.5 + 0.5 * np.sin(phase + place[None, :, None, None] + 2 * place[None, None, :, None])
    return waves.astype("float32")


# --- Scrambled copies ------------------------------------------------------------------------


@given(shape=array_shapes(min_dims=3, max_dims=5, min_side=1, max_side=13), seed=st.integers(0, 3))
def test_scrambled_samples_keep_their_values_channel_by_channel(shape, seed):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    before = x.copy()
    y = scrambled(x, seed=seed)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(x, before)
    inner = tuple(range(1, x.ndim - 1))
    flat = (shape[0], int(np.prod([shape[axis] for axis in inner])), shape[-1])
    # Pixels travel whole: sorted by the first channel, every channel agrees.
    for ours, theirs in zip(x.reshape(flat), y.reshape(flat), strict=True):
        np.testing.assert_array_equal(
            ours[np.lexsort(ours.T[::-1])], theirs[np.lexsort(theirs.T[::-1])]
        )


@given(shape=array_shapes(min_dims=2, max_dims=2, max_side=20))
def test_scrambled_vectors_keep_the_values_of_every_feature(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    y = scrambled(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(np.sort(x, axis=0), np.sort(y, axis=0))


@pytest.mark.parametrize("shape", [(6, 10), (6, 64, 2), (6, 32, 32, 3), (6, 9, 9, 9, 1)])
def test_scrambling_changes_every_kind_of_sample_and_repeats_itself(shape, rng):
    x = rng.normal(size=shape)
    y = scrambled(x)
    assert np.mean(x != y) > 0.5
    np.testing.assert_array_equal(scrambled(x), y)
    assert np.any(scrambled(x, seed=1) != y)


def test_scrambling_moves_whole_blocks(rng):
    x = rng.normal(size=(5, 8, 8, 1))
    blocks = {block.tobytes() for image in x for block in _blocks_of_two(image)}
    assert all(b.tobytes() in blocks for image in scrambled(x) for b in _blocks_of_two(image))


def _blocks_of_two(image):
    return [image[i : i + 2, j : j + 2] for i in range(0, 8, 2) for j in range(0, 8, 2)]


def test_scrambled_pixels_stay_integers():
    pixels = np.arange(2 * 8 * 8 * 3, dtype="uint16").reshape(2, 8, 8, 3).astype("uint8")
    assert scrambled(tf.constant(pixels)).dtype == np.uint8


# --- The choice ------------------------------------------------------------------------------


def test_tune_takes_the_candidates_with_the_best_separation(classifier, id_images):
    detector = keras_lodin.ODINDetector(classifier)
    tuning = detector.tune(id_images, **FEW)
    assert isinstance(tuning, Tuning)
    assert tuning.contrast == "scrambled"
    assert (detector.temperature, detector.epsilon) == (tuning.temperature, tuning.epsilon)
    settings = [(c["temperature"], c["epsilon"]) for c in tuning.candidates]
    temperatures, epsilons = settings[:2], settings[2:]
    assert temperatures == [(1.0, 0.0), (1000.0, 0.0)]
    assert epsilons == [(tuning.temperature, epsilon) for epsilon in FEW["epsilons"]]
    by_auroc = [c["auroc"] for c in tuning.candidates]
    assert tuning.temperature == temperatures[int(np.argmax(by_auroc[:2]))][0]
    assert tuning.epsilon == epsilons[int(np.argmax(by_auroc[2:]))][1]


def test_recorded_figures_are_those_of_the_detector_itself(classifier, id_images):
    tuning = keras_lodin.ODINDetector(classifier).tune(id_images, **FEW)
    contrast = scrambled(id_images)
    for candidate in tuning.candidates:
        detector = keras_lodin.ODINDetector(
            classifier, temperature=candidate["temperature"], epsilon=candidate["epsilon"]
        )
        ours, theirs = (detector.predict(x, verbose=0)["score"] for x in (id_images, contrast))
        np.testing.assert_allclose(candidate["auroc"], auroc(ours, theirs), atol=2e-3)
        np.testing.assert_allclose(candidate["mean_id_score"], ours.mean(), rtol=1e-4)


def test_mean_id_score_rises_with_a_small_epsilon(classifier, id_images):
    tuning = keras_lodin.ODINDetector(classifier).tune(
        id_images, temperatures=(1000.0,), epsilons=(0.0, 0.001, 0.002), verbose=0
    )
    means = [c["mean_id_score"] for c in tuning.candidates if c["epsilon"] > 0.0]
    assert tuning.candidates[0]["mean_id_score"] < means[0] < means[1]


def test_labels_do_not_matter(classifier, id_images, rng):
    detector = keras_lodin.ODINDetector(classifier)
    plain = detector.tune(id_images, **FEW)
    for _ in range(2):
        labels = rng.integers(0, networks.CLASSES, 30)
        dataset = tf.data.Dataset.from_tensor_slices((id_images, labels)).batch(128)
        assert detector.tune(dataset, **FEW).candidates == plain.candidates


def test_the_detectors_own_setting_does_not_matter(classifier, id_images):
    first = keras_lodin.ODINDetector(classifier, temperature=3.0, epsilon=0.1)
    second = keras_lodin.ODINDetector(classifier)
    assert first.tune(id_images, **FEW).candidates == second.tune(id_images, **FEW).candidates


def test_ood_data_decides_when_it_is_given(classifier, id_images, rng):
    ood = rng.uniform(size=(20, 8, 8, 1)).astype("float32")
    detector = keras_lodin.ODINDetector(classifier)
    tuning = detector.tune(id_images, ood_data=ood, **FEW)
    assert tuning.contrast == "ood_data"
    chosen = tuning.candidates[-3:][FEW["epsilons"].index(tuning.epsilon)]
    expected = auroc(
        detector.predict(id_images, verbose=0)["score"], detector.predict(ood, verbose=0)["score"]
    )
    np.testing.assert_allclose(chosen["auroc"], expected, atol=2e-3)


def test_ties_go_to_the_larger_temperature_and_the_smaller_epsilon(id_images):
    # A classifier that answers the same everywhere tells nothing from anything.
    model = networks.convolutional()
    model.layers[-1].kernel.assign(np.zeros(model.layers[-1].kernel.shape))
    tuning = keras_lodin.ODINDetector(model).tune(id_images, **FEW)
    assert {candidate["auroc"] for candidate in tuning.candidates} == {0.5}
    assert (tuning.temperature, tuning.epsilon) == (1000.0, 0.0)


def test_a_compiled_predict_follows_and_the_threshold_is_forgotten(classifier, id_images):
    detector = keras_lodin.ODINDetector(classifier, temperature=7.0, epsilon=0.1)
    before = detector.predict(id_images, verbose=0)["score"]
    detector.calibrate(id_images, tpr=0.5)
    tuning = detector.tune(id_images, **FEW)
    assert not detector.calibrated
    fresh = keras_lodin.ODINDetector(
        classifier, temperature=tuning.temperature, epsilon=tuning.epsilon
    )
    after = detector.predict(id_images, verbose=0)["score"]
    assert np.all(after != before)
    np.testing.assert_array_equal(after, fresh.predict(id_images, verbose=0)["score"])


@pytest.mark.parametrize(("make", "shape"), [(networks.dense, (10,)), (networks.series, (20, 3))])
def test_vectors_and_series_are_tuned(make, shape, rng):
    detector = keras_lodin.ODINDetector(make())
    tuning = detector.tune(rng.uniform(size=(20, *shape)).astype("float32"), **FEW)
    assert len(tuning.candidates) == 5


def test_integer_pixels_are_tuned_as_the_same_floats(id_images):
    inner = networks.convolutional()
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, inner(keras.layers.Rescaling(1 / 255)(inputs)))
    detector = keras_lodin.ODINDetector(model, input_range=(0, 255))
    pixels = (255 * id_images).astype("uint8")
    floats = detector.tune(pixels.astype("float32"), **FEW)
    assert detector.tune(pixels, **FEW).candidates == floats.candidates


def test_the_default_grids_hold_the_papers_setting():
    assert 1000.0 in TEMPERATURES
    assert {0.0, 0.0014} <= set(EPSILONS)


# --- Refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "values", "allowed"),
    [
        ("temperatures", (), "above 0"),
        ("temperatures", (0.0, 1.0), "above 0"),
        ("temperatures", (1.0, np.inf), "above 0"),
        ("temperatures", 10.0, "above 0"),
        ("epsilons", (), "0 or more"),
        ("epsilons", (-0.001,), "0 or more"),
        ("epsilons", (np.nan,), "0 or more"),
        ("epsilons", ("small",), "0 or more"),
    ],
)
def test_unusable_candidates_are_refused(classifier, id_images, option, values, allowed):
    detector = keras_lodin.ODINDetector(classifier)
    message = rf"`{option}` must be a list of one or more .*{allowed}. Received: {option}="
    with pytest.raises(ValueError, match=message):
        detector.tune(id_images, **{**FEW, option: values})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[:0], r"There is no example"),
        (lambda x: 255 * x, r"input_range=\(0, 1\).*Received: values from"),
        (lambda x: np.repeat(x, 3, axis=-1), r"takes shape.*Received: inputs of shape"),
        (lambda x: x * np.nan, r"must be finite. Received: 1920 NaN"),
    ],
)
def test_unusable_data_is_refused_and_the_setting_stays(classifier, id_images, spoil, message):
    detector = keras_lodin.ODINDetector(classifier, temperature=7.0, epsilon=0.1)
    detector.calibrate(id_images)
    for name, arguments in (
        ("id_data", (spoil(id_images),)),
        ("ood_data", (id_images, spoil(id_images))),
    ):
        with pytest.raises(ValueError, match=f"Data set `{name}`: .*{message}"):
            detector.tune(*arguments, **FEW)
    assert (detector.temperature, detector.epsilon) == (7.0, 0.1)
    assert detector.calibrated


def test_tuning_of_a_broken_classifier_says_so(classifier, id_images):
    classifier.layers[-1].bias.assign([np.nan] * networks.CLASSES)
    detector = keras_lodin.ODINDetector(classifier)
    with pytest.raises(ValueError, match=r"classifier's weights.*Received: score=nan"):
        detector.tune(id_images, **FEW)


def test_data_of_another_kind_is_refused_with_the_arguments_name(classifier, id_images):
    detector = keras_lodin.ODINDetector(classifier)
    with pytest.raises(TypeError, match=r"Data set `ood_data`: .*Received: 'photos'"):
        detector.tune(id_images, "photos", **FEW)
