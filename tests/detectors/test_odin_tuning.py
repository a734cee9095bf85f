"""Choosing temperature and epsilon from in-distribution data alone."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lodin
from keras_lodin.data.contrasts import CONTRASTS
from keras_lodin.detectors import odin_tuning
from keras_lodin.detectors.odin_tuning import EPSILONS, TEMPERATURES, tune
from keras_lodin.detectors.tuning import Tuning
from keras_lodin.detectors.tuning_margin import placements
from keras_lodin.metrics.figures import auroc
from tests import networks

FEW = {"temperatures": (1.0, 1000.0), "epsilons": (0.0, 0.005, 0.02), "verbose": 0}


@pytest.fixture
def id_images(rng):
    """Smooth images, which scrambling breaks."""
    phase, place = rng.uniform(0, 6, size=(30, 1, 1, 1)), np.linspace(0, 3, 8)
    waves = 0.5 + 0.5 * np.sin(phase + place[None, :, None, None] + 2 * place[None, None, :, None])
    return waves.astype("float32")


def scores(detector, x):
    """Without a graph, which takes longer to make than this network takes to run."""
    return keras.ops.convert_to_numpy(detector(x)["score"])


class Counting(keras.layers.Layer):
    """Counts the samples that pass it, forwards and backwards."""

    def __init__(self):
        super().__init__()
        self.forwards, self.backwards = [], []

    def call(self, inputs):
        def counted(values, passed):
            def note(array):
                passed.append(len(array))
                return array

            return tf.ensure_shape(tf.numpy_function(note, [values], "float32"), values.shape)

        @tf.custom_gradient
        def same(values):
            return counted(values, self.forwards), lambda upstream: counted(
                upstream, self.backwards
            )

        return same(inputs)


@pytest.mark.parametrize("temperatures", [(1000.0,), (1.0, 2.0)])
def test_it_costs_one_gradient_and_a_pass_for_each_epsilon(id_images, temperatures):
    """Well below 4 + 3 for each epsilon, which is about what trying each anew would take."""
    inputs = keras.Input((8, 8, 1))
    counting = Counting()
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(counting(inputs)))
    detector = keras_lodin.ODINDetector(keras.Model(inputs, outputs))
    epsilons = (0.0, 0.001, 0.0014, 0.002)
    counting.forwards.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector.tune(id_images, None, temperatures, epsilons, verbose=0)
    # The data themselves, and as much of each contrast.
    scored = len(id_images) * (1 + len(CONTRASTS))
    defaults = 1000.0 not in temperatures
    assert sum(counting.backwards) == scored * (1 + defaults)
    assert sum(counting.forwards) == scored * (2 + 3 + defaults)
    passes = (sum(counting.forwards) + sum(counting.backwards)) / scored
    assert passes <= 4 + 3 * len(epsilons)


# --- The choice ------------------------------------------------------------------------------


def test_tune_takes_the_candidates_with_the_best_separation(classifier, id_images):
    detector = keras_lodin.ODINDetector(classifier)
    tuning = detector.tune(id_images, **FEW)
    assert isinstance(tuning, Tuning)
    assert tuning.contrast == "made_up"
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
    contrasts = [contrast(id_images) for contrast in CONTRASTS.values()]
    for candidate in tuning.candidates:
        detector = keras_lodin.ODINDetector(
            classifier, temperature=candidate["temperature"], epsilon=candidate["epsilon"]
        )
        ours, *others = (scores(detector, x) for x in (id_images, *contrasts))
        found = np.mean([auroc(ours, theirs) for theirs in others])
        np.testing.assert_allclose(candidate["auroc"], found, atol=2e-3)
        np.testing.assert_allclose(candidate["mean_id_score"], ours.mean(), rtol=1e-4)


def test_mean_id_score_rises_with_a_small_epsilon(classifier, id_images):
    tuning = keras_lodin.ODINDetector(classifier).tune(
        id_images, temperatures=(1000.0,), epsilons=(0.0, 0.001, 0.002), verbose=0
    )
    means = [c["mean_id_score"] for c in tuning.candidates if c["epsilon"] > 0.0]
    assert tuning.candidates[0]["mean_id_score"] < means[0] < means[1]


@pytest.mark.slow
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
    expected = auroc(scores(detector, id_images), scores(detector, ood))
    np.testing.assert_allclose(chosen["auroc"], expected, atol=2e-3)


def test_ties_go_to_the_larger_temperature_and_the_smaller_epsilon(id_images):
    # A classifier that answers the same everywhere tells nothing from anything.
    model = networks.convolutional()
    model.layers[-1].kernel.assign(np.zeros(model.layers[-1].kernel.shape))
    with pytest.warns(UserWarning, match="tell no candidate from another"):
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
    for found, expected in zip(
        detector.tune(pixels, **FEW).candidates, floats.candidates, strict=True
    ):
        # Smooth noise of whole numbers is rounded.
        assert found == pytest.approx(expected, abs=0.01)


# --- How sure it is --------------------------------------------------------------------------

AROUND_DEFAULTS = {
    "temperatures": (1.0, 100.0, 1000.0, 10_000.0),
    "epsilons": (0.0, 0.0014, 0.005),
    "verbose": 0,
}


def indifferent(shape=(8, 8, 1)):
    """A classifier that answers the same everywhere."""
    model = networks.convolutional(shape=shape)
    model.layers[-1].kernel.assign(np.zeros(model.layers[-1].kernel.shape))
    return model


NOISE = np.random.default_rng(0).uniform(size=(25, 8, 8, 1))
VECTOR = np.random.default_rng(0).uniform(size=(1, 10))


@pytest.mark.grid(2)
@pytest.mark.parametrize(
    ("make", "data", "ood"),
    [
        (networks.convolutional, np.full((20, 8, 8, 1), 0.5), None),
        (networks.convolutional, np.zeros((20, 8, 8, 1)), None),
        (networks.convolutional, np.ones((31, 8, 8, 1)), None),
        (networks.convolutional, NOISE, NOISE),
        (networks.convolutional, NOISE, NOISE[::-1]),
        (networks.dense, np.full((20, 10), 0.3), None),
        (networks.dense, np.repeat(VECTOR, 40, axis=0), None),
        (networks.series, np.full((20, 20, 3), 0.7), None),
        (indifferent, NOISE, None),
    ],
    ids=[
        *("grey", "black", "white", "its own contrast", "the same in another order"),
        *("constant vectors", "one vector", "constant series", "an indifferent classifier"),
    ],
)
def test_data_that_tell_nothing_leave_the_defaults_and_are_told_of(make, data, ood):
    detector = keras_lodin.ODINDetector(make(), temperature=3.0, epsilon=0.1)
    with pytest.warns(UserWarning, match=r"tell no candidate from another.* same AUROC, 0\.5\. "):
        tuning = detector.tune(data.astype("float32"), ood, batch_size=7, **AROUND_DEFAULTS)
    assert (detector.temperature, detector.epsilon) == (1000.0, 0.0014)
    assert {candidate["auroc"] for candidate in tuning.candidates} == {0.5}
    assert tuning.over_runner_up.margin == tuning.over_defaults.margin == 0.0
    assert not tuning.over_runner_up.told_apart
    assert "these are the defaults" in tuning.summary()


@pytest.mark.parametrize(
    ("temperatures", "epsilons", "chosen"),
    [
        ((1.0, 100.0, 1000.0, 10_000.0), (0.0, 0.0014), (1000.0, 0.0014)),
        ((1.0, 10.0), (0.0, 0.1), (10.0, 0.0)),
        ((100.0, 10_000.0), (0.1, 0.01), (10_000.0, 0.01)),
        ((2000.0, 900.0), (0.0014,), (900.0, 0.0014)),
        ((1e6, 1e5), (0.01, 0.0014, 0.002), (1e5, 0.0014)),
        ((1000.0,), (0.5, 0.3), (1000.0, 0.3)),
        ((3.0,), (0.0,), (3.0, 0.0)),
        ((999.0, 1000.0, 1001.0), (0.0013, 0.0015), (1000.0, 0.0013)),
    ],
)
def test_of_tied_candidates_those_near_the_defaults_are_taken(temperatures, epsilons, chosen):
    detector = keras_lodin.ODINDetector(indifferent())
    tuning = tune(detector, NOISE.astype("float32"), None, temperatures, epsilons, 128, 0)
    assert (tuning.temperature, tuning.epsilon) == chosen


@pytest.mark.parametrize("ood_count", [None, 25])
def test_margins_are_those_of_the_detectors_own_scores(classifier, id_images, rng, ood_count):
    ood = None if ood_count is None else rng.uniform(size=(ood_count, 8, 8, 1)).astype("float32")
    tuning = keras_lodin.ODINDetector(classifier).tune(id_images, ood, **FEW)
    made_up = [contrast(id_images) for contrast in CONTRASTS.values()]

    def measured(**settings):
        detector = keras_lodin.ODINDetector(classifier, **settings)
        others = made_up if ood is None else [ood]
        ours, *theirs = (scores(detector, x) for x in (id_images, *others))
        return np.mean([auroc(ours, one) for one in theirs])

    own = measured(temperature=tuning.temperature, epsilon=tuning.epsilon)
    assert tuning.auroc == pytest.approx(own, abs=2e-3)
    assert (tuning.id_count, tuning.contrast_count) == (30, ood_count or 30)
    defaults, other = tuning.over_defaults, tuning.over_runner_up
    assert (defaults.temperature, defaults.epsilon) == (1000.0, 0.0014)
    assert defaults.margin == pytest.approx(own - measured(), abs=4e-3)
    others = [
        candidate["auroc"]
        for candidate in tuning.candidates
        if (candidate["temperature"], candidate["epsilon"]) != (tuning.temperature, tuning.epsilon)
    ]
    assert other.auroc == max(others)
    for margin in (defaults, other):
        assert margin.margin == pytest.approx(tuning.auroc - margin.auroc)
        assert margin.interval[0] <= margin.margin <= margin.interval[1]
    assert f"runner-up (temperature {other.temperature:g}" in tuning.summary()
    assert f"{30} ID samples against {ood_count or 30} of" in tuning.summary()


@pytest.mark.parametrize("count", [1, 2, 19])
def test_few_samples_are_told_of(classifier, id_images, count):
    detector = keras_lodin.ODINDetector(classifier)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        tuning = detector.tune(id_images[:count], **FEW)
    caught = [one for one in caught if one.category is UserWarning]
    texts = [str(one.message) for one in caught]
    assert texts == list(tuning.doubts)
    assert f"Received: {count} in-distribution samples against {count}" in texts[0]
    assert "Fewer than 20 samples" in texts[0]
    # The warning points at the line of the user.
    assert {one.filename for one in caught} == {__file__}


def test_a_choice_that_is_sure_raises_no_doubt_and_its_margin_says_so(rng, tmp_path):
    """At a large T the second of two winners counts for nothing, at a small one it does."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False)])
    model.layers[-1].kernel.assign(np.eye(3))
    detector = keras_lodin.ODINDetector(model, input_range=(-5, 5))
    inside = (np.array([[1.0, 0.0, 0.0]]) + rng.normal(0, 0.1, (40, 3))).astype("float32")
    torn = (np.array([[1.2, 1.2, -2.0]]) + rng.normal(0, 0.1, (30, 3))).astype("float32")
    tuning = detector.tune(inside, torn, temperatures=(0.1, 1000.0), epsilons=(0.0,), verbose=0)
    assert (tuning.temperature, tuning.epsilon) == (0.1, 0.0)
    assert tuning.doubts == ()
    assert tuning.over_defaults.margin > 0.9
    assert tuning.over_defaults.told_apart
    assert tuning.over_runner_up.told_apart
    assert "over the defaults: +" in tuning.summary()
    assert detector.tuned
    detector.save(tmp_path / "detector.keras")
    assert keras.models.load_model(tmp_path / "detector.keras").tuned
    detector.epsilon = 0.1
    assert not detector.tuned


@pytest.mark.parametrize(
    ("epsilon", "epsilons", "end"),
    [
        (0.02, [0.0, 0.01, 0.02], "largest"),
        (0.01, [0.01, 0.02], "smallest"),
        (0.02, [0.01, 0.02], "largest"),
        (0.0, [0.0, 0.01], None),
        (0.01, [0.0, 0.01, 0.02], None),
        (0.01, [0.01], None),
        (0.0, [0.0], None),
        (EPSILONS[-1], list(EPSILONS), "largest"),
        (EPSILONS[1], list(EPSILONS), None),
    ],
)
def test_an_epsilon_at_the_end_of_its_list_is_told_of(epsilon, epsilons, end):
    found = odin_tuning._at_the_end_of_epsilons(epsilon, epsilons)
    assert len(found) == (end is not None)
    assert all(f"Epsilon is the {end} candidate" in text for text in found)


@pytest.mark.parametrize(
    ("temperature", "temperatures", "rise", "told"),
    [
        (10.0, [1.0, 10.0], 0.0, True),
        (100.0, [1.0, 10.0, 100.0], 0.5, True),
        (999.0, [1.0, 999.0], 0.0, True),
        (1.0, [1.0, 10.0], 0.0, False),
        (10.0, [1.0, 10.0, 100.0], 0.0, False),
        (10.0, [10.0], 0.0, False),
        # From 1000 on the order of scores hardly depends on T.
        (1000.0, [1.0, 1000.0], 0.0, False),
        (1000.0, [1.0, 1000.0], 0.5, True),
        (5000.0, [1.0, 5000.0], 0.0, False),
    ],
)
def test_a_temperature_at_the_end_of_its_list_is_told_of_where_more_may_help(
    temperature, temperatures, rise, told, rng
):
    ours, theirs = rng.normal(0.5, 1.0, 200), rng.normal(size=200)
    found = [placements(ours, theirs)] * (len(temperatures) - 1)
    found.append(placements(ours + rise, theirs))
    texts = odin_tuning._at_the_end(temperature, temperatures, found, False)
    assert len(texts) == told
    assert all("The temperature is the largest candidate" in text for text in texts)


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
        ("temperatures", "125", "above 0"),
        ("temperatures", (True, 2.0), "above 0"),
        # 0 and infinity in float32.
        ("temperatures", (1e-50, 1.0), "above 0"),
        ("temperatures", (1.0, 1e39), "above 0"),
        ("epsilons", (), "0 or more"),
        ("epsilons", (-0.001,), "0 or more"),
        ("epsilons", (np.nan,), "0 or more"),
        ("epsilons", ("small",), "0 or more"),
        ("epsilons", ("0.1",), "0 or more"),
        ("epsilons", (0.0, 1e39), "0 or more"),
    ],
)
def test_unusable_candidates_are_refused(classifier, id_images, option, values, allowed):
    detector = keras_lodin.ODINDetector(classifier)
    message = rf"`{option}` must be a list of one or more .*{allowed}. Received: {option}="
    with pytest.raises(ValueError, match=message):
        detector.tune(id_images, **{**FEW, option: values})


@pytest.mark.grid(2)
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
