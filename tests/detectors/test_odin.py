"""ODIN against its literal formulas, and where those underflow."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import layers, ops

import keras_lodin
from keras_lodin.detectors.odin_score import tempered_score, winning_cotangent
from keras_lodin.gradients import ForwardPass
from tests import networks
from tests.dear import fewer_examples
from tests.detectors import classifiers


def literal_gradient(model, x, temperature):
    """d log S_yhat(x; T) / dx, by differentiating the softmax itself."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = tf.cast(model(x, training=False), tf.float32)
        log_softmax = tf.nn.log_softmax(logits / temperature)
        winning = tf.reduce_sum(tf.reduce_max(log_softmax, axis=-1))
    return tape.gradient(winning, x).numpy()


def perturbed(detector, x):
    return ops.convert_to_numpy(detector.perturb(ForwardPass(detector.logits_function, x)))


def scores(detector, x):
    """Without a graph, which takes longer to make than these networks take to run."""
    return ops.convert_to_numpy(detector(x)["score"])


def predicted(detector, x):
    return detector.predict(x, verbose=0)["score"]


def max_softmax(model, x, temperature):
    logits = np.asarray(model(x), "float64") / temperature
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).max(axis=-1)


def float64_score(logits, temperature):
    logits = np.asarray(logits, "float64") / temperature
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.log(logits.shape[-1]) - np.log(exponentials.sum(axis=-1))


# --- The step --------------------------------------------------------------------------------


@pytest.mark.grid(2)
@pytest.mark.parametrize("temperature", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (networks.convolutional, (8, 8, 1)),
        (networks.dense, (10,)),
        (networks.residual, (6, 6, 2)),
        (networks.series, (20, 3)),
    ],
)
def test_step_follows_the_literal_gradient(make, shape, temperature, rng):
    model = make(shape=shape)
    x = rng.uniform(size=(8, *shape)).astype("float32")
    detector = keras_lodin.ODINDetector(
        model, temperature=temperature, epsilon=0.02, input_range=(-1, 3)
    )
    gradient = literal_gradient(model, x, temperature)
    clear = np.abs(gradient) > 1e-4 * np.abs(gradient).max()
    assert clear.mean() > 0.5
    expected = x + 0.02 * 4.0 * np.sign(gradient)
    np.testing.assert_allclose(perturbed(detector, x)[clear], expected[clear], atol=1e-6)


def test_step_is_zero_where_the_gradient_is_zero(images):
    inputs = keras.Input((8, 8, 1))
    seen = layers.Flatten()(layers.Cropping2D(2)(inputs))
    detector = keras_lodin.ODINDetector(keras.Model(inputs, layers.Dense(3)(seen)), epsilon=0.1)
    moved = perturbed(detector, images) != images
    assert moved[:, 2:-2, 2:-2].all()
    assert moved.sum() == moved[:, 2:-2, 2:-2].sum()


@pytest.mark.parametrize("temperature", [1.0, 1000.0])
def test_step_raises_the_winning_probability(classifier, images, temperature):
    detector = keras_lodin.ODINDetector(classifier, temperature=temperature, epsilon=1e-3)
    before = max_softmax(classifier, images, temperature)
    after = max_softmax(classifier, perturbed(detector, images), temperature)
    assert np.all(after > before)
    # To first order by epsilon times the L1 norm of the gradient, ODIN's own argument.
    norm = np.abs(literal_gradient(classifier, images, temperature)).sum((1, 2, 3))
    np.testing.assert_allclose(np.log(after / before), 1e-3 * norm, rtol=0.05)


def test_inputs_are_not_clipped_to_their_range(classifier):
    detector = keras_lodin.ODINDetector(classifier, epsilon=0.1)
    moved = perturbed(detector, np.ones((1, 8, 8, 1), "float32"))
    assert moved.max() > 1.0


def test_a_step_in_pixels_equals_a_step_in_fractions(images):
    inner = networks.convolutional()
    inputs = keras.Input((8, 8, 1))
    of_pixels = keras.Model(inputs, inner(layers.Rescaling(1 / 255)(inputs)))
    fractions = keras_lodin.ODINDetector(inner, epsilon=0.01)
    pixels = keras_lodin.ODINDetector(of_pixels, epsilon=0.01, input_range=(0, 255))
    np.testing.assert_allclose(scores(pixels, 255 * images), scores(fractions, images), rtol=1e-4)
    np.testing.assert_allclose(
        perturbed(pixels, 255 * images), 255 * perturbed(fractions, images), atol=1e-3
    )


def test_channel_std_steps_as_the_original_code_does(rng):
    """There, images are standardised, and the sign is divided by the standard deviation."""
    mean, std = np.array([0.4, 0.6], "float32"), np.array([0.2, 0.25], "float32")
    inner = networks.residual()
    inputs = keras.Input((6, 6, 2))
    with_preprocessing = keras.Model(
        inputs, inner(layers.Normalization(mean=mean, variance=std**2)(inputs))
    )
    x = rng.uniform(size=(8, 6, 6, 2)).astype("float32")
    standardised = (x - mean) / std
    original = keras_lodin.ODINDetector(inner, epsilon=0.01, channel_std=std)
    gradient = literal_gradient(inner, standardised, 1000.0)
    clear = np.abs(gradient) > 1e-4 * np.abs(gradient).max()
    expected = standardised + 0.01 * np.sign(gradient) / std
    np.testing.assert_allclose(perturbed(original, standardised)[clear], expected[clear], atol=1e-6)
    # The same step, taken before the standardisation, needs no `channel_std`.
    pixels = keras_lodin.ODINDetector(with_preprocessing, epsilon=0.01)
    np.testing.assert_allclose(scores(pixels, x), scores(original, standardised), rtol=1e-3)
    original.calibrate(standardised, tpr=0.5)


def test_one_channel_std_holds_for_every_channel(rng):
    model = networks.residual()
    x = rng.uniform(size=(4, 6, 6, 2)).astype("float32")
    one = keras_lodin.ODINDetector(model, epsilon=0.01, channel_std=[0.5])
    both = keras_lodin.ODINDetector(model, epsilon=0.01, channel_std=[0.5, 0.5])
    np.testing.assert_array_equal(perturbed(one, x), perturbed(both, x))


def test_channel_std_survives_saving(images, classifier, tmp_path):
    detector = keras_lodin.ODINDetector(classifier, channel_std=[0.3], input_range=(0, 2))
    detector.save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    assert loaded.channel_std == (0.3,)
    assert loaded.input_range == (0.0, 2.0)
    np.testing.assert_array_equal(scores(loaded, images), scores(detector, images))


def test_a_confident_sample_still_has_a_direction(images):
    model = networks.convolutional()
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 3000.0)
    assert not np.any(literal_gradient(model, images, 1.0))  # softmax is exactly one-hot
    detector = keras_lodin.ODINDetector(model, temperature=1.0, epsilon=0.01)
    moved = perturbed(detector, images) - images
    assert np.mean(moved != 0.0) > 0.9
    # The direction is that of the same network in double precision and unsaturated arithmetic.
    twin = networks.in_float64(networks.convolutional, model)
    x = tf.constant(images, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = twin(x)
        top, runner_up = tf.unstack(tf.math.top_k(logits, 2).values, axis=-1)
        margin = tf.reduce_sum(top - runner_up)
    # Only where the runner-up is the whole of the other classes, as it is when saturated.
    alone = (top - runner_up).numpy() > 40.0
    second = tf.math.top_k(logits, 3).values
    alone &= (second[:, 1] - second[:, 2]).numpy() > 40.0
    assert alone.sum() >= 4
    gradient = tape.gradient(margin, x).numpy()
    clear = np.abs(gradient) > 1e-4 * np.abs(gradient).max()
    clear[~alone] = False
    np.testing.assert_array_equal(np.sign(moved)[clear], np.sign(gradient)[clear])


def test_neighbours_in_the_batch_do_not_matter(images):
    model = networks.convolutional(normalization=True, activation="tanh")
    detector = keras_lodin.ODINDetector(model, epsilon=0.01)
    expected = ops.convert_to_numpy(detector(images[:3])["score"])
    for rest in (np.zeros_like(images), 1e3 * images, np.full_like(images, np.nan)):
        found = ops.convert_to_numpy(detector(np.concatenate([images[:3], rest]))["score"])
        np.testing.assert_allclose(found[:3], expected, rtol=1e-5, atol=1e-7)


# --- The score -------------------------------------------------------------------------------

# TensorFlow takes the numbers below 1e-38 for zero.
any_logits = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)


@fewer_examples
@given(
    logits=arrays("float32", (4, 5), elements=any_logits),
    temperature=st.floats(0.1, 1e4),
)
def test_score_is_the_log_of_classes_times_the_largest_softmax(logits, temperature):
    score = ops.convert_to_numpy(tempered_score(logits, np.float32(temperature)))
    expected = float64_score(logits, float(np.float32(temperature)))
    assert score.dtype == np.float32
    # Near log(classes) the absolute error is that of float32.
    np.testing.assert_allclose(score, expected, rtol=2e-5, atol=2e-6)
    assert np.all((score >= 0.0) & (score <= np.log(5) * (1 + 1e-5)))


@fewer_examples
@given(
    logits=arrays("float32", (4, 5), elements=any_logits),
    temperature=st.floats(0.1, 1e4),
)
def test_step_direction_is_that_of_the_log_softmax(logits, temperature):
    cotangent = ops.convert_to_numpy(winning_cotangent(logits, np.float32(temperature)))
    assert np.all(np.isfinite(cotangent))
    winner = cotangent.argmax(-1)  # one of the largest, where several are
    np.testing.assert_array_equal(logits[np.arange(4), winner], logits.max(-1))
    np.testing.assert_allclose(cotangent.sum(-1), 0.0, atol=1e-5)
    np.testing.assert_array_equal(cotangent[np.arange(4), winner], 1.0)
    scaled = logits.astype("float64") / float(np.float32(temperature))
    exponentials = np.exp(scaled - scaled.max(-1, keepdims=True))
    softmax = exponentials / exponentials.sum(-1, keepdims=True)
    literal = np.eye(5)[winner] - softmax  # d log S_yhat / d f, up to 1 / T
    rest = literal[np.arange(4), winner]
    unsaturated = rest > 1e-6
    np.testing.assert_allclose(
        cotangent[unsaturated], literal[unsaturated] / rest[unsaturated, None], atol=1e-4
    )


def test_score_is_zero_for_a_uniform_softmax():
    np.testing.assert_array_equal(tempered_score(np.full((2, 9), 3.0, "float32"), 10.0), 0.0)


def test_score_tells_samples_apart_where_the_softmax_does_not(rng):
    logits = rng.normal(scale=3.0, size=(10_000, 10)).astype("float32")
    softmax = ops.convert_to_numpy(ops.max(ops.softmax(logits / 1000.0), axis=-1))
    score = ops.convert_to_numpy(tempered_score(logits, 1000.0))
    assert len(np.unique(score)) > 9_950
    assert len(np.unique(score)) > len(np.unique(softmax))
    assert len(np.unique(softmax.astype("float16"))) < 50
    exact = float64_score(logits, 1000.0)
    # The order of the exact scores, but for neighbours that differ in the last digit.
    np.testing.assert_allclose(score[np.argsort(exact)], np.sort(exact), rtol=2e-6)


@pytest.mark.parametrize("classes", [10, 1000, 20_000])
def test_score_tells_confident_samples_of_many_classes_apart(rng, classes):
    """Their largest softmax is 1 less 1e-2 to 1e-5, which a mean over classes rounds away."""
    logits = rng.normal(size=(100, classes)).astype("float32")
    logits[:, 0] = np.log(np.exp(logits[:, 1:]).sum(axis=-1)) + np.log(10) * np.linspace(2, 5, 100)
    score = ops.convert_to_numpy(tempered_score(logits, 1.0))
    np.testing.assert_allclose(score, float64_score(logits, 1.0), atol=4e-6)
    assert np.all(np.diff(score) >= 0.0)
    assert len(np.unique(score)) > 80


@pytest.mark.parametrize("temperature", [1.0, 10.0, 1000.0])
def test_without_a_step_the_order_is_that_of_the_tempered_softmax(classifier, images, temperature):
    detector = keras_lodin.ODINDetector(classifier, temperature=temperature, epsilon=0.0)
    found = scores(detector, images)
    exact = max_softmax(classifier, images, temperature)
    np.testing.assert_array_equal(np.argsort(found), np.argsort(exact))
    np.testing.assert_allclose(found, np.log(networks.CLASSES * exact), rtol=1e-3, atol=1e-7)
    np.testing.assert_array_equal(perturbed(detector, images), images)


def test_temperature_matters(rng):
    near, far = classifiers.easy_data(rng)
    x = np.concatenate([near, far])
    model = networks.dense(shape=(networks.CLASSES,))
    orders = {
        tuple(np.argsort(scores(keras_lodin.ODINDetector(model, temperature=t, epsilon=0.0), x)))
        for t in (0.1, 1.0, 1000.0)
    }
    assert len(orders) == 3


# --- Settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param("temperature", 3.0, marks=pytest.mark.slow), ("epsilon", 0.05)],
)
def test_a_compiled_predict_follows_a_new_setting_and_the_threshold_is_forgotten(
    name, value, classifier, images
):
    detector = keras_lodin.ODINDetector(classifier, temperature=10.0, epsilon=0.0)
    before = predicted(detector, images)
    detector.calibrate(images, tpr=0.5)
    setattr(detector, name, value)
    assert getattr(detector, name) == value
    assert not detector.calibrated
    assert detector.p_value_count is None
    fresh = keras_lodin.ODINDetector(
        classifier, **{"temperature": 10.0, "epsilon": 0.0, name: value}
    )
    after = predicted(detector, images)
    assert np.all(after != before)
    np.testing.assert_array_equal(after, predicted(fresh, images))
    assert not detector.predict(images, verbose=0)["is_ood"].any()


def test_a_composed_model_follows_a_new_setting(classifier, images):
    detector = keras_lodin.ODINDetector(classifier, epsilon=0.0)
    inputs = keras.Input((8, 8, 1))
    composed = keras.Model(inputs, detector(inputs))
    before = predicted(composed, images)
    detector.epsilon = 0.05
    assert np.all(predicted(composed, images) > before)


def test_settings_read_back_as_they_were_written(classifier):
    detector = keras_lodin.ODINDetector(classifier, temperature=1000, epsilon=0.0014)
    assert (detector.temperature, detector.epsilon) == (1000.0, 0.0014)


def test_the_energy_temperature_cannot_change_behind_a_compiled_predict(classifier):
    detector = keras_lodin.EnergyDetector(classifier, temperature=2.0)
    with pytest.raises(AttributeError, match=r"temperature"):
        detector.temperature = 3.0


@pytest.mark.parametrize("epsilon", [-0.001, np.nan, np.inf, None])
def test_an_impossible_epsilon_is_refused(classifier, epsilon):
    with pytest.raises(ValueError, match=rf"`epsilon`.* 0 or more. Received: epsilon={epsilon}"):
        keras_lodin.ODINDetector(classifier, epsilon=epsilon)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf, None])
@pytest.mark.parametrize("cls", [keras_lodin.ODINDetector, keras_lodin.EnergyDetector])
def test_an_impossible_temperature_is_refused(cls, classifier, temperature):
    message = rf"`temperature` must be a positive.*Received: temperature={temperature}"
    with pytest.raises(ValueError, match=message):
        cls(classifier, temperature=temperature)


def test_a_refused_setting_leaves_the_old_one(classifier, images):
    detector = keras_lodin.ODINDetector(classifier, temperature=10.0, epsilon=0.01)
    detector.calibrate(images, tpr=0.9)
    threshold = detector.threshold
    with pytest.raises(ValueError, match=r"Received: temperature=0"):
        detector.temperature = 0
    with pytest.raises(ValueError, match=r"Received: epsilon=-1"):
        detector.epsilon = -1
    assert (detector.temperature, detector.epsilon, detector.threshold) == (10.0, 0.01, threshold)


@pytest.mark.parametrize(
    "input_range", [(1, 0), (0, 0), (0, np.inf), (np.nan, 1), 255, ("a", "b"), (0, 1, 2)]
)
def test_an_impossible_input_range_is_refused(classifier, input_range):
    with pytest.raises(ValueError, match=r"`input_range` must be .*Received: input_range="):
        keras_lodin.ODINDetector(classifier, input_range=input_range)


@pytest.mark.parametrize("channel_std", [[0.0], [-0.2], [0.2, 0.2], [np.nan], []])
def test_an_impossible_channel_std_is_refused(classifier, channel_std):
    message = r"`channel_std` must hold one positive number .* 1 channel.*Received: channel_std=\["
    with pytest.raises(ValueError, match=message):
        keras_lodin.ODINDetector(classifier, channel_std=channel_std)


@pytest.mark.parametrize("method", ["calibrate", "tune"])
def test_inputs_outside_the_input_range_are_refused(classifier, images, method):
    detector = keras_lodin.ODINDetector(classifier, input_range=(0, 1))
    message = r"input_range=\(0, 1\), which its settings.*Received: values from .* to 25\d"
    with pytest.raises(ValueError, match=message):
        getattr(detector, method)(255 * images)
    assert not detector.calibrated


def test_a_rounding_error_outside_the_input_range_is_let_pass(classifier, images):
    keras_lodin.ODINDetector(classifier).calibrate(images * 1.0005, tpr=0.5)


def test_standardised_inputs_that_spread_too_wide_are_refused(classifier, images):
    detector = keras_lodin.ODINDetector(classifier, channel_std=[0.25])
    detector.calibrate((images - 0.5) / 0.25, tpr=0.5)
    message = r"must not spread wider .*input_range, from 0 to 1.*Received: .* spread over 25\d"
    with pytest.raises(ValueError, match=message):
        detector.calibrate(255 * (images - 0.5) / 0.25)


# --- The range of the inputs: known, assumed, of each feature's own ----------------------------


def with_scales(scales):
    """A network on features of other units, and the same on features of one unit."""
    keras.utils.set_random_seed(3)
    inner = keras.Sequential(
        [keras.Input((len(scales),)), layers.Dense(12, activation="tanh"), layers.Dense(4)]
    )
    inputs = keras.Input((len(scales),))
    return inner, keras.Model(inputs, inner(inputs / np.float32(scales)))


@given(
    exponents=st.lists(st.integers(-12, 12), min_size=3, max_size=3),
    epsilon=st.floats(0.0, 0.0625, width=32),
)
@settings(max_examples=4)
def test_a_feature_in_another_unit_leaves_the_score_as_it_is(exponents, epsilon):
    scales = np.float32(2.0) ** np.float32(exponents)  # exact, so that nothing is rounded
    x = np.random.default_rng(0).uniform(-1, 1, (9, 3)).astype("float32")
    inner, outer = with_scales(scales)
    one = keras_lodin.ODINDetector(
        inner, 10.0, float(epsilon), input_range=(-np.ones(3), np.ones(3))
    )
    other = keras_lodin.ODINDetector(outer, 10.0, float(epsilon), input_range=(-scales, scales))
    np.testing.assert_allclose(
        ops.convert_to_numpy(one(x)["score"]),
        ops.convert_to_numpy(other(x * scales)["score"]),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("method", [pytest.param("tune", marks=pytest.mark.slow), "calibrate"])
def test_ranges_of_a_table_are_read_off_its_data_so_that_units_do_not_matter(rng, method):
    scales = np.float32([2**-10, 1.0, 2**10])
    x = rng.normal(size=(60, 3)).astype("float32")
    x[:, 1] = 0.5  # constant: it does not move
    found = []
    for network, data in zip(with_scales(scales), (x, x * scales), strict=True):
        detector = keras_lodin.ODINDetector(network, epsilon=0.01)
        assert detector.input_range_origin == "assumed"
        getattr(detector, method)(data, verbose=0)
        assert detector.input_range_origin == "data"
        np.testing.assert_array_equal(detector.input_range, (data.min(axis=0), data.max(axis=0)))
        found.append(scores(detector, data))
        moved = perturbed(detector, data) - data
        assert np.isfinite(moved).all()
        assert not moved[:, 1].any()
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_one_range_and_the_same_for_each_feature_are_one(classifier, images):
    whole = keras_lodin.ODINDetector(classifier, input_range=(0, 2))
    each = keras_lodin.ODINDetector(classifier, input_range=(np.zeros((8, 8, 1)), 2))
    np.testing.assert_array_equal(scores(whole, images), scores(each, images))


@pytest.mark.parametrize(
    "input_range", [(0, 2), (np.zeros(10), np.arange(1, 11)), (0, np.linspace(0.1, 0.9, 10))]
)
def test_a_range_and_its_origin_are_saved(tmp_path, rng, input_range):
    detector = keras_lodin.ODINDetector(networks.dense(), 10.0, 0.02, input_range=input_range)
    detector.save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    np.testing.assert_array_equal(loaded.input_range, detector.input_range)
    assert loaded.input_range_origin == "given"
    x = rng.uniform(size=(5, 10)).astype("float32")
    np.testing.assert_array_equal(scores(loaded, x), scores(detector, x))


def test_a_file_from_before_the_range_had_an_origin_scores_the_same(tmp_path, rng):
    detector = keras_lodin.ODINDetector(networks.dense(), 10.0, 0.02, input_range=(0, 2))
    x = rng.uniform(size=(30, 10)).astype("float32")
    detector.calibrate(x)
    config = detector.get_config()
    del config["input_range_origin"]
    old = keras_lodin.ODINDetector.from_config(config)
    assert (old.input_range, old.input_range_origin) == ((0.0, 2.0), "given")
    store = {}
    detector.save_own_variables(store)
    old.classifier.set_weights(detector.classifier.get_weights())
    # The width was no weight, and there were neither p-values nor notes.
    for name in ("4", "5", "6", "7", *old._notes):
        del store[name]
    old.load_own_variables(store)
    np.testing.assert_array_equal(scores(old, x), scores(detector, x))
    assert old.threshold == detector.threshold


def test_a_compiled_and_a_composed_model_follow_the_range(classifier, images):
    detector = keras_lodin.ODINDetector(classifier, 1.0, 0.1)
    composed = keras.Model(inputs := keras.Input((8, 8, 1)), detector(inputs)["score"])
    before = predicted(detector, images), composed.predict(images, verbose=0)
    detector.input_range = (0, 4)
    assert detector.input_range_origin == "given"
    after = predicted(detector, images), composed.predict(images, verbose=0)
    expected = predicted(keras_lodin.ODINDetector(classifier, 1.0, 0.1, input_range=(0, 4)), images)
    np.testing.assert_array_equal(before[0], before[1])
    np.testing.assert_array_equal(after, (expected, expected))
    assert np.abs(after[0] - before[0]).max() > 0
    with pytest.raises(ValueError, match=r"another shape needs another detector"):
        detector.input_range = (np.zeros(1), np.ones(1) * np.ones((8, 8, 1)))


@pytest.mark.grid(3)
@pytest.mark.parametrize("method", ["tune", "calibrate"])
@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, (0.0, 1.0)), (255.0, (0.0, 255.0)), (16.0, (0.0, 16.0))]
)
def test_images_settle_the_range_that_was_assumed(classifier, images, method, factor, expected):
    data = factor * images / images.max()
    data.flat[0] = 0.0
    detector = keras_lodin.ODINDetector(classifier)
    detector.tune(data, verbose=0) if method == "tune" else detector.calibrate(data, tpr=0.5)
    assert (detector.input_range, detector.input_range_origin) == (expected, "data")


def test_images_that_fill_a_255th_of_the_range_are_noticed(classifier, images):
    detector = keras_lodin.ODINDetector(classifier, input_range=(0, 255))
    with pytest.warns(UserWarning, match=r"fill only 1/25\d of the range"):
        detector.calibrate(images, tpr=0.5, verbose=0)


def test_a_configuration_is_what_the_constructor_takes(rng):
    detector = keras_lodin.ODINDetector(networks.dense())
    detector.settle_input_range(rng.normal(size=(20, 10)))
    config = {**detector.get_config(), "classifier": detector.classifier}
    again = keras_lodin.ODINDetector(**config)
    assert again.input_range_origin == "data"
    np.testing.assert_array_equal(again.input_range, detector.input_range)
