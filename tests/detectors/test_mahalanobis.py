"""The Mahalanobis detector against scikit-learn on features that are all in memory."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from sklearn.covariance import OAS, EmpiricalCovariance

import keras_lodin
from keras_lodin.detectors import MahalanobisDetector
from keras_lodin.detectors.mahalanobis import _offset
from tests import networks
from tests.processes import optimised_as_here, run_python

CLASSES = 5


def trunk(shape=(8, 8, 3), activation="tanh"):
    """Two layers with names, 9 features at the end."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(6, 3, activation=activation, name="early")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    x = layers.Dense(9, activation=activation, name="late")(x)
    return networks.with_statistics(keras.Model(inputs, layers.Dense(CLASSES)(x)))


def identity(size, classes=CLASSES):
    """A classifier whose features are its inputs."""
    return keras.Sequential([keras.Input((size,)), layers.Dense(classes)])


def labelled_images(rng, count=200, shape=(8, 8, 3)):
    """Images of a colour and brightness that depend on the class."""
    y = rng.permutation(np.arange(count) % CLASSES)
    x = 0.5 * rng.uniform(size=(count, *shape))
    x += 0.1 * y[:, None, None, None] * np.linspace(0.5, 1.0, shape[-1])
    return x.astype("float32"), y


@pytest.fixture
def data(rng):
    return labelled_images(rng)


def scores(detector, x):
    """Without a graph, which takes longer to make than these networks take to run."""
    return ops.convert_to_numpy(detector(x)["score"])


def predicted(detector, x):
    return detector.predict(x, verbose=0)["score"]


def features_of(model, name):
    """A layer's features, averaged over all axes but the first and the last: float64."""
    outputs = keras.Model(model.inputs[0], model.get_layer(name).output)
    return lambda x: (
        np.asarray(outputs(x), "float64").reshape(len(x), -1, outputs.output.shape[-1]).mean(axis=1)
    )


def reference_score(train, y, test, estimator=None):
    """`max_c -1/2 d_c^2`, by scikit-learn, from features in memory."""
    classes = np.unique(y)
    means = np.array([train[y == c].mean(axis=0) for c in classes])
    fitted = estimator or EmpiricalCovariance(assume_centered=True)
    fitted.fit(train - means[np.searchsorted(classes, y)])
    return np.max([-0.5 * fitted.mahalanobis(test - mean) for mean in means], axis=0)


# --- The score -------------------------------------------------------------------------------


def test_score_is_that_of_scikit_learn(data, rng):
    (x, y), model = data, trunk()
    test = rng.uniform(size=(50, 8, 8, 3)).astype("float32")
    detector = MahalanobisDetector(model)
    detector.adapt(x, y, batch_size=32)
    assert detector.shrinkage_used == (0.0,)
    features = features_of(model, "late")
    for inputs in (x, test):
        expected = reference_score(features(x), y, features(inputs))
        np.testing.assert_allclose(scores(detector, inputs), expected, rtol=1e-4)
    np.testing.assert_allclose(detector.predict(test, verbose=0)["logits"], model(test), atol=1e-6)


def test_without_full_rank_the_precision_is_the_pseudo_inverse(rng):
    x, y = labelled_images(rng)
    model = trunk(activation="relu")
    # Dead units, and copies: ReLU networks have both.
    kernel = model.get_layer("late").kernel
    kernel.assign(np.asarray(kernel) * np.r_[np.ones(6), 0.0, np.ones(2)].astype("float32"))
    model.get_layer("late").bias.assign(np.r_[np.ones(6), -1.0, np.ones(2)])
    detector = MahalanobisDetector(model, shrinkage=0.0)
    detector.adapt(x, y)
    features = features_of(model, "late")
    assert np.linalg.matrix_rank(features(x) - features(x).mean(axis=0)) < 9
    test = rng.uniform(size=(50, 8, 8, 3)).astype("float32")
    expected = reference_score(features(x), y, features(test))
    np.testing.assert_allclose(scores(detector, test), expected, rtol=1e-4)
    assert detector.shrinkage_used == (0.0,)
    estimated = MahalanobisDetector(model)
    estimated.adapt(x, y)
    shrunk = reference_score(features(x), y, features(test), OAS(assume_centered=True))
    np.testing.assert_allclose(scores(estimated, test), shrunk, rtol=1e-4)
    assert 0.0 < estimated.shrinkage_used[0] < 0.5


def test_fewer_samples_than_features(rng):
    x = rng.normal(size=(20, 30)).astype("float32")
    y = np.arange(20) % CLASSES
    test = rng.normal(size=(9, 30)).astype("float32")
    for shrinkage, estimator in ((0.0, None), (None, OAS(assume_centered=True))):
        detector = MahalanobisDetector(identity(30), shrinkage=shrinkage)
        detector.adapt(x, y)
        expected = reference_score(np.float64(x), y, np.float64(test), estimator)
        np.testing.assert_allclose(scores(detector, test), expected, rtol=1e-4)


def test_layers_by_name_are_weighted_and_added(data, rng):
    (x, y), model = data, trunk()
    test = rng.uniform(size=(20, 8, 8, 3)).astype("float32")
    detector = MahalanobisDetector(model, layers=["early", "late"], layer_weights=[0.5, -2.0])
    detector.adapt(x, y)
    early, late = (features_of(model, name) for name in ("early", "late"))
    expected = 0.5 * reference_score(early(x), y, early(test))
    expected -= 2.0 * reference_score(late(x), y, late(test))
    np.testing.assert_allclose(scores(detector, test), expected, rtol=1e-4)
    alone = MahalanobisDetector(model, layers="early")
    alone.adapt(x, y)
    np.testing.assert_allclose(
        scores(alone, test), reference_score(early(x), y, early(test)), rtol=1e-4
    )


@pytest.mark.parametrize("names", [None, ["early", "late"]])
def test_normalized_features_are_those_of_scikit_learn_on_the_sphere(names, data, rng):
    (x, y), model = data, trunk()
    test = rng.uniform(size=(20, 8, 8, 3)).astype("float32")
    detector = MahalanobisDetector(model, layers=names, normalize=True)
    detector.adapt(x, y)
    expected = 0.0
    for name in names or ["late"]:
        features = features_of(model, name)
        on_sphere = lambda z: z / np.linalg.norm(z, axis=-1, keepdims=True)  # noqa: E731
        expected = expected + reference_score(on_sphere(features(x)), y, on_sphere(features(test)))
    np.testing.assert_allclose(scores(detector, test), expected, rtol=1e-4)


def test_a_step_goes_through_the_normalization(rng):
    """Of features that are the inputs the gradient is known in closed form."""
    x, y = rng.normal(size=(200, 6)).astype("float32"), np.arange(200) % CLASSES
    detector = MahalanobisDetector(identity(6), normalize=True, epsilon=0.01, input_range=(-9, 9))
    detector.adapt(x, y)
    (weights,) = detector._statistics
    matrix, mean, centres = (
        np.asarray(weights[name], "float64") for name in ("matrix", "mean", "centres")
    )

    def score(inputs):
        unit = inputs / np.linalg.norm(inputs, axis=-1, keepdims=True)
        distances = ((((unit - mean) @ matrix)[:, None] - centres) ** 2).sum(-1)
        return -0.5 * distances.min(axis=-1)

    few = x[:5].astype("float64")
    gradient = np.stack(
        [(score(few + 1e-6 * e) - score(few - 1e-6 * e)) / 2e-6 for e in np.eye(6)], axis=-1
    )
    clear = np.abs(gradient) > 1e-3 * np.abs(gradient).max()
    expected = few + 0.01 * 18.0 * np.sign(gradient)
    np.testing.assert_allclose(perturbed(detector, x[:5])[clear], expected[clear], atol=1e-5)


def test_features_of_zero_have_a_score_when_normalized(rng):
    x, y = rng.normal(size=(200, 6)).astype("float32"), np.arange(200) % CLASSES
    x[0] = 0.0
    for epsilon in (0.0, 0.01):
        detector = MahalanobisDetector(
            identity(6), normalize=True, epsilon=epsilon, input_range=(-9, 9)
        )
        detector.adapt(x, y)
        assert np.isfinite(scores(detector, x)).all()


def test_score_stays_under_an_invertible_map_of_the_features(rng):
    x = rng.normal(size=(200, 12)).astype("float32")
    y = np.arange(200) % CLASSES
    x[:, :CLASSES] += 4.0 * np.eye(CLASSES, dtype="float32")[y]
    rotation, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    mapped = (x @ (rotation * rng.uniform(0.3, 3.0, size=12)) + 2.0).astype("float32")
    plain, other = (MahalanobisDetector(identity(12), shrinkage=0.0) for _ in range(2))
    plain.adapt(x, y)
    other.adapt(mapped, y)
    np.testing.assert_allclose(scores(other, mapped), scores(plain, x), rtol=1e-4)


def test_far_from_all_classes_no_digits_are_lost(rng):
    """The expanded form, |u|^2 - 2 uv + |v|^2, would leave none of them."""
    x = rng.normal(size=(400, 6)).astype("float32")
    y = np.arange(400) % CLASSES
    x[:, 0] += 3e3 * y
    detector = MahalanobisDetector(identity(6))
    detector.adapt(x, y)
    expected = reference_score(np.float64(x), y, np.float64(x))
    np.testing.assert_allclose(scores(detector, x), expected, rtol=1e-2)


def test_many_classes_and_features_need_no_tensor_of_both_and_the_batch(rng):
    statistics = {
        "mean": tf.zeros((1280,)),
        "matrix": tf.eye(1280),
        "centres": tf.constant(rng.normal(size=(1000, 1280)).astype("float32")),
        "offsets": tf.zeros((1000,)),
    }
    function = tf.function(lambda z: _offset(statistics, z))
    graph = function.get_concrete_function(tf.TensorSpec((64, 1280))).graph
    sizes = [
        np.prod(output.shape.as_list())
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.rank and operation.type != "Placeholder"
    ]
    assert max(sizes) <= 1280 * 1280


# --- Adapting --------------------------------------------------------------------------------


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, size):
        super().__init__()
        self.x, self.y, self.size = x, y, size

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, index):
        part = slice(index * self.size, (index + 1) * self.size)
        return self.x[part], self.y[part]


@pytest.mark.slow
def test_every_kind_of_data_and_every_batch_size_gives_the_same_statistics(data):
    (x, y), model = data, trunk()
    expected = MahalanobisDetector(model)
    expected.adapt(x, y)
    order = np.argsort(y, kind="stable")
    for given in (
        ((x, y),),
        (tf.data.Dataset.from_tensor_slices((x, y)).batch(7),),
        (Batches(x, y, 64),),
        (Batches(x[order], keras.utils.to_categorical(y[order]), 30),),
        (x, keras.utils.to_categorical(y)),
    ):
        detector = MahalanobisDetector(model)
        detector.adapt(*given)
        np.testing.assert_allclose(scores(detector, x), scores(expected, x), rtol=1e-5)


@pytest.mark.slow
def test_adapting_again_starts_from_nothing_and_forgets_the_threshold(data, rng):
    x, y = data
    detector = MahalanobisDetector(trunk())
    detector.adapt(*labelled_images(np.random.default_rng(9)))
    detector.calibrate(x, tpr=0.5)
    before = predicted(detector, x)
    detector.adapt(x, y)
    assert not detector.calibrated
    assert detector.p_value_count is None
    fresh = MahalanobisDetector(detector.classifier)
    fresh.adapt(x, y)
    # The compiled `predict` of before follows.
    np.testing.assert_array_equal(predicted(detector, x), predicted(fresh, x))
    assert np.all(predicted(detector, x) != before)


def test_a_composed_model_follows(data):
    x, y = data
    detector = MahalanobisDetector(trunk())
    inputs = keras.Input((8, 8, 3))
    composed = keras.Model(inputs, detector(layers.Rescaling(0.5)(inputs)))
    detector.adapt(x, y)
    np.testing.assert_array_equal(scores(composed, x), scores(detector, 0.5 * x))


def test_a_class_without_samples_is_never_the_nearest(data):
    (x, y), model = data, trunk()
    kept = y != 3
    detector = MahalanobisDetector(model)
    detector.adapt(x[kept], y[kept])
    features = features_of(model, "late")
    expected = reference_score(features(x[kept]), y[kept], features(x))
    np.testing.assert_allclose(scores(detector, x), expected, rtol=1e-4)


def test_it_refuses_before_adapt(data, tmp_path):
    x, _ = data
    detector = MahalanobisDetector(trunk())
    message = r"needs statistics.*call `adapt\(x, y\)` with training data first. Received: 'mahal"
    for use in (
        lambda: detector.predict(x, verbose=0),
        lambda: detector(x),
        lambda: detector.calibrate(x, tpr=0.5),
        lambda: keras_lodin.evaluate({"m": detector}, x, {"noise": x}, resamples=10),
        lambda: detector.export(tmp_path / "artifact"),
        lambda: detector.export(tmp_path / "detector.onnx", format="onnx"),
    ):
        with pytest.raises(ValueError, match=message):
            use()
    assert not detector.adapted
    assert detector.shrinkage_used is None
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def adapted_once():
    keras.utils.set_random_seed(0)
    detector = MahalanobisDetector(trunk(), epsilon=0.01, input_range=(0, 1))
    x, y = labelled_images(np.random.default_rng(0))
    detector.adapt(x, y, batch_size=200)
    return detector, scores(detector, x)


@pytest.mark.grid(2)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: (x, None), r"Class means need labels.*Received: ndarray of shape"),
        (lambda x, y: (x, y + 1), r"Labels must lie in 0..4.*Received: 40 of"),
        (lambda x, y: (x[:0], y[:0]), r"There is no example"),
        (lambda x, y: (x[..., 0], y), r"Inputs do not fit the classifier"),
        (lambda x, y: (np.where(x == x[3, 1, 1, 1], np.nan, x), y), r"must be finite"),
        (lambda x, y: (x, np.zeros_like(y)), r"at least two classes.*Received: 200 samples of 1"),
        (lambda x, y: (3.0 * x, y), r"must lie in the detector's input_range=\(0, 1\)"),
        (lambda x, y: (np.ones_like(x) * y[:, None, None, None] / 9, y), r"must vary within cl"),
    ],
)
def test_data_that_cannot_be_adapted_to_is_refused_and_the_old_statistics_stay(
    spoil, message, data, adapted_once
):
    (x, y), (detector, before) = data, adapted_once
    with pytest.raises(ValueError, match=message):
        detector.adapt(*spoil(x, y), batch_size=200)
    np.testing.assert_array_equal(scores(detector, x), before)


def test_inputs_outside_of_the_range_are_refused_where_there_is_a_step(data):
    x, y = data
    for epsilon in (0.0, 0.01):
        detector = MahalanobisDetector(trunk(), epsilon=epsilon)
        detector.adapt(x, y)
        if epsilon:
            with pytest.raises(ValueError, match=r"Received: values from .* to "):
                detector.calibrate(255.0 * x)
        else:
            detector.calibrate(255.0 * x)


# --- The step --------------------------------------------------------------------------------


def perturbed(detector, x):
    return ops.convert_to_numpy(detector.perturb(detector.forward_pass(x)))


@pytest.mark.parametrize("names", [pytest.param(None, marks=pytest.mark.slow), ["early", "late"]])
def test_step_follows_finite_differences_in_float64(names, data):
    (x, y), model = data, trunk()
    weights = None if names is None else [0.5, 2.0]
    detector = MahalanobisDetector(
        model, layers=names, layer_weights=weights, epsilon=0.02, input_range=(-1, 3)
    )
    detector.adapt(x, y)
    x = x[:6]
    twin = networks.in_float64(trunk, model)
    outputs = keras.Model(twin.inputs[0], [twin.get_layer(n).output for n in names or ["late"]])
    found = [
        {name: np.asarray(value, "float64") for name, value in layer.items()}
        for layer in detector._statistics
    ]

    def layer_features(inputs):
        values = outputs(inputs, training=False)
        values = values if isinstance(values, list) else [values]
        return [np.asarray(v).reshape(len(inputs), -1, v.shape[-1]).mean(axis=1) for v in values]

    def mapped(inputs):
        return [
            (z - s["mean"]) @ s["matrix"]
            for z, s in zip(layer_features(inputs), found, strict=True)
        ]

    nearest = [
        s["centres"][((u[:, None] - s["centres"]) ** 2).sum(-1).argmin(-1)]
        for u, s in zip(mapped(x), found, strict=True)
    ]

    def score(inputs):
        total = 0.0
        for weight, u, v in zip(weights or [1.0], mapped(inputs), nearest, strict=True):
            total -= 0.5 * weight * ((u - v) ** 2).sum(-1)
        return total

    step = 1e-5
    gradient = np.zeros(x.shape)
    for place in np.ndindex(x.shape[1:]):
        direction = np.zeros(x.shape[1:])
        direction[place] = step
        gradient[(slice(None), *place)] = (score(x + direction) - score(x - direction)) / 2 / step
    cotangents = [
        -w * (u - v) @ s["matrix"].T
        for w, u, v, s in zip(weights or [1.0], mapped(x), nearest, found, strict=True)
    ]
    cotangents = [ops.convert_to_tensor(value.astype("float32")) for value in cotangents]
    taken = ops.convert_to_numpy(detector.forward_pass(x).input_gradient_of_features(cotangents))
    np.testing.assert_allclose(taken, gradient, atol=1e-4 * np.abs(gradient).max())
    clear = np.abs(gradient) > 1e-3 * np.abs(gradient).max()
    assert clear.mean() > 0.9
    expected = x + 0.02 * 4.0 * np.sign(gradient)
    np.testing.assert_allclose(perturbed(detector, x)[clear], expected[clear], atol=1e-6)


def test_step_raises_the_score_and_none_costs_no_gradient(data):
    (x, y), model = data, trunk()
    plain, stepping = (MahalanobisDetector(model, epsilon=epsilon) for epsilon in (0.0, 1e-4))
    for detector in (plain, stepping):
        detector.adapt(x, y)
    np.testing.assert_array_equal(plain.shrinkage_used, stepping.shrinkage_used)
    assert np.all(scores(stepping, x) > scores(plain, x))
    np.testing.assert_allclose(
        scores(stepping, x), scores(plain, perturbed(stepping, x)), rtol=1e-4
    )

    def operations(detector):
        function = tf.function(detector.call, autograph=False)
        graph = function.get_concrete_function(tf.TensorSpec((None, 8, 8, 3))).graph
        return [operation.type for operation in graph.get_operations()]

    assert operations(plain).count("Conv2D") == 1
    assert "Conv2DBackpropInput" not in operations(plain)
    assert operations(stepping).count("Conv2D") == 2
    assert operations(stepping).count("Conv2DBackpropInput") == 1


@pytest.mark.grid(2)
@pytest.mark.parametrize("epsilon", [0.0, 0.01])
def test_nan_inputs_score_nan_and_do_not_touch_their_neighbours(epsilon, data):
    x, y = data
    detector = MahalanobisDetector(trunk(), epsilon=epsilon)
    detector.adapt(x, y)
    detector.calibrate(x, tpr=0.9)
    expected = detector.predict(x, verbose=0)
    spoilt = x.copy()
    spoilt[[2, 7]] = np.nan
    outputs = detector.predict(spoilt, verbose=0)
    assert np.isnan(outputs["score"][[2, 7]]).all()
    assert outputs["is_ood"][[2, 7]].all()
    others = np.setdiff1d(np.arange(len(x)), [2, 7])
    np.testing.assert_allclose(outputs["score"][others], expected["score"][others], rtol=1e-5)


# --- Settings and files ----------------------------------------------------------------------

LOAD_AND_SCORE = """
import sys
import numpy as np
import keras
import keras_lodin
folder = sys.argv[1]
x = np.load(folder + "/x.npy")
detector = keras.models.load_model(folder + "/detector.keras")
assert detector.adapted
np.savez(
    folder + "/results.npz",
    score=detector.predict(x, verbose=0)["score"],
    shrinkage=detector.shrinkage_used,
    threshold=detector.threshold,
)
"""


@pytest.mark.slow
def test_a_saved_detector_scores_the_same_in_a_fresh_process(data, tmp_path):
    x, y = data
    detector = MahalanobisDetector(
        trunk(), layers=["early", "late"], layer_weights=[1, 0.5], epsilon=0.01, shrinkage=0.25
    )
    detector.adapt(x, y)
    detector.calibrate(x, tpr=0.5)
    np.save(tmp_path / "x.npy", x)
    detector.save(tmp_path / "detector.keras")
    run_python(optimised_as_here(LOAD_AND_SCORE), tmp_path)
    with np.load(tmp_path / "results.npz") as results:
        np.testing.assert_array_equal(results["score"], predicted(detector, x))
        np.testing.assert_array_equal(results["shrinkage"], [0.25, 0.25])
        assert results["threshold"] == detector.threshold


def test_a_detector_saved_before_adapt_still_refuses(tmp_path):
    MahalanobisDetector(trunk()).save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    with pytest.raises(ValueError, match=r"needs statistics"):
        loaded.predict(np.zeros((1, 8, 8, 3), "float32"), verbose=0)


def test_configuration_holds_every_setting():
    detector = MahalanobisDetector(
        trunk(), layers="early", layer_weights=(2,), epsilon=0.01, shrinkage=1, input_range=(0, 255)
    )
    config = json.loads(json.dumps(detector.get_config()))
    assert {name: config[name] for name in ("layers", "layer_weights", "epsilon")} == {
        "layers": ["early"],
        "layer_weights": [2.0],
        "epsilon": 0.01,
    }
    assert (config["shrinkage"], config["input_range"]) == (1.0, [0.0, 255.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -0.1}, r"`epsilon` must be a number.*Received: epsilon=-0.1"),
        ({"epsilon": np.nan}, r"Received: epsilon=nan"),
        ({"shrinkage": 1.5}, r"`shrinkage` must lie between 0 and 1.*Received: shrinkage=1.5"),
        ({"shrinkage": np.nan}, r"Received: shrinkage=nan"),
        (
            {"layer_weights": [1, 2]},
            r"one finite number for each of the 1 layers. Received: layer_weights=\[",
        ),
        ({"layer_weights": [np.inf]}, r"Received: layer_weights=\[inf\]"),
        ({"normalize": "yes"}, r"`normalize` must be True or False. Received: normalize='yes'"),
        ({"layers": []}, r"`layers` must be the name of a layer.*Received: layers=\[\]"),
        ({"layers": ["late", "late"]}, r"different names. Received: layers=\['late', 'late'\]"),
        ({"layers": ["lat"]}, r"Did you mean 'late'"),
        ({"input_range": (1, 0)}, r"`input_range` must be.*Received: input_range=\(1, 0\)"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MahalanobisDetector(trunk(), **options)


def test_epsilon_cannot_change_behind_a_compiled_predict():
    with pytest.raises(AttributeError, match=r"epsilon"):
        MahalanobisDetector(trunk()).epsilon = 0.1


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_one_pass_serves_detectors_of_several_layers(data):
    (x, y), model = data, trunk()
    detectors = {
        "late": MahalanobisDetector(model),
        "weighted": MahalanobisDetector(model, layer_weights=[3.0]),
        "early": MahalanobisDetector(model, layers="early"),
        "msp": keras_lodin.MSPDetector(model),
    }
    for name in ("late", "weighted", "early"):
        detectors[name].adapt(x, y)
    assert len({detector.pass_key for detector in detectors.values()}) == 1
    evaluation = keras_lodin.evaluate(
        detectors, (x, y), {"bright": np.ones((9, 8, 8, 3), "float32")}, resamples=10, verbose=0
    )
    for name, detector in detectors.items():
        np.testing.assert_allclose(
            evaluation.scores[name]["id"], scores(detector, x), rtol=1e-4, err_msg=name
        )


PEAK = """
import resource
import sys
import keras
import numpy as np
import keras_lodin

class Rows(keras.utils.PyDataset):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def __len__(self):
        return self.count // 1000

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        return rng.normal(size=(1000, 768)).astype("float32"), rng.integers(0, 10, 1000)

classifier = keras.Sequential([keras.Input((768,)), keras.layers.Dense(10)])
detector = keras_lodin.MahalanobisDetector(classifier)
detector.adapt(Rows(int(sys.argv[1])), verbose=0)
with open(sys.argv[2], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tmp_path):
    """100,000 rows of features are 293 MB, in single precision."""
    peaks = []
    for count in (1_000, 100_000):
        run_python(PEAK, count, tmp_path / "peak")
        peaks.append(int((tmp_path / "peak").read_text()) / 1024)
    assert peaks[1] - peaks[0] < 200, peaks


# --- Labels by name, ranges of each feature's own -----------------------------------------------


def test_classes_are_those_of_the_names_that_data_and_classifier_have(rng):
    from keras_lodin import data as named_data

    names = tuple("0123456")
    classifier = networks.convolutional()
    turned = MahalanobisDetector(classifier, class_names=names[::-1])
    plain = MahalanobisDetector(classifier)
    source = named_data.load("digits:0-6", part="test")
    turned.adapt(source, verbose=0)
    plain.adapt(source, verbose=0)
    centres = [keras.ops.convert_to_numpy(one._statistics[0]["centres"]) for one in (turned, plain)]
    np.testing.assert_allclose(centres[0], centres[1][::-1], atol=1e-5)
    with pytest.raises(ValueError, match=r"does not know '7', '8', '9' among"):
        turned.adapt(named_data.load("digits:7-9", part="test"), verbose=0)


def test_the_step_is_a_fraction_of_each_features_own_range(rng):
    x = (rng.normal(size=(80, 10)) * np.logspace(-3, 3, 10)).astype("float32")
    x[:, 4] = 1.0
    detector = MahalanobisDetector(networks.dense(), epsilon=0.01)
    detector.adapt(x, rng.integers(0, 7, 80), verbose=0)
    assert detector.input_range_origin == "data"
    moved = keras.ops.convert_to_numpy(detector.perturb(detector.forward_pass(x))) - x
    width = x.max(axis=0) - x.min(axis=0)
    np.testing.assert_allclose(np.abs(moved).max(axis=0), 0.01 * width, rtol=1e-2, atol=1e-6)
