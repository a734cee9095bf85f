"""Detectors, tuning and evaluation on every backend, and files between them."""

import keras
import numpy as np
import pytest

import keras_lodin
from tests.core import expected, networks, test_against_pytorch_ood

EXPECTED = np.load(expected.FOLDER / "expected.npz")
# On TensorFlow tests/detectors tries it all.
pytestmark = pytest.mark.slow_on("tensorflow")
NAMES = ["msp", "max_logit", "energy", "odin", "mahalanobis", "mood"]


@pytest.fixture(scope="module")
def detectors():
    return expected.detectors()


def check(name, detector, batch_size=64):
    """In one batch: each size of a batch is a compilation on JAX."""
    found = detector.predict(expected.to_score(name), batch_size=batch_size, verbose=0)
    # Of the scores of this backend: where rounding moves one across another, its rank is another.
    expected_p_values = keras.ops.convert_to_numpy(detector.p_value(found["score"]))
    np.testing.assert_allclose(found.pop("p_value"), expected_p_values, rtol=1e-6)
    for output, value in found.items():
        np.testing.assert_allclose(
            value, EXPECTED[f"detector {name}: {output}"], rtol=1e-4, atol=1e-4
        )


def test_every_detector_of_the_registry_is_compared():
    """Here with TensorFlow, or with pytorch-ood in test_against_pytorch_ood, on every backend."""
    compared = {name for name, _, _ in test_against_pytorch_ood.ROWS.values()}
    assert {*NAMES, *expected.OTHERS, *compared} == set(keras_lodin.detectors.DETECTORS)


def test_scores_of_the_others_are_those_of_tensorflow():
    for name, value in expected.scores_of_others().items():
        theirs = EXPECTED[f"other: {name}"]
        np.testing.assert_allclose(
            value, theirs, rtol=1e-4, atol=1e-4 * np.ptp(theirs), err_msg=name
        )


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_tensorflow(name, detectors):
    check(name, detectors[name], batch_size=32)


@pytest.mark.parametrize("count", [40, 5000])
def test_p_values_are_ranks_among_the_calibration_scores(count):
    random = np.random.default_rng(count)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.eye(2, dtype="float32")])
    detector = keras_lodin.MaxLogitDetector(model)
    kept, fresh = random.normal(size=(2, count, 2)).astype("float32")
    detector.calibrate(kept, verbose=0)
    found = detector.predict(fresh, verbose=0)
    ranks = np.searchsorted(np.sort(kept.max(axis=1)), found["score"], side="right")
    above = found["p_value"] - (1 + ranks) / (1 + count)
    assert -1e-7 < above.min() <= above.max() < (1e-7 if count <= 4096 else 1 / 3000)
    np.testing.assert_allclose(above[ranks < 1024], 0.0, atol=1e-7)
    assert detector.p_value_count == count


@pytest.mark.parametrize("name", NAMES)
def test_a_file_written_on_tensorflow_scores_the_same(name):
    check(name, keras_lodin.models.load(expected.FOLDER / "saved" / f"{name}.keras"))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_written_here_scores_the_same(name, detectors, tmp_path):
    detectors[name].save(tmp_path / "detector.keras")
    loaded = keras_lodin.models.load(tmp_path / "detector.keras")
    assert loaded.threshold == detectors[name].threshold
    check(name, loaded)


def test_tuning_chooses_what_it_does_on_tensorflow():
    for name, value in expected.tuned().items():
        np.testing.assert_allclose(value, EXPECTED[f"tuned: {name}"], rtol=1e-6)


def test_an_evaluation_gives_the_figures_of_tensorflow(detectors):
    for name, value in expected.evaluated(detectors).items():
        np.testing.assert_allclose(value, EXPECTED[f"evaluated: {name}"], atol=1e-4)


def test_a_detector_before_adapting_refuses_and_keeps_its_weights():
    detector = keras_lodin.MahalanobisDetector(networks.classifier(), input_range=(0, 1))
    x, y = networks.batch(40)
    with pytest.raises(ValueError, match="call `adapt"):
        detector.predict(x, verbose=0)
    detector.adapt(x, y, verbose=0)
    assert np.isfinite(detector.predict(x, verbose=0)["score"]).all()


def test_a_call_of_a_detector_gives_what_predicting_does(detectors):
    x = expected.to_score("odin")[:32]
    called = keras.tree.map_structure(keras.ops.convert_to_numpy, detectors["odin"](x))
    for name, value in detectors["odin"].predict(x, verbose=0).items():
        np.testing.assert_allclose(called[name], value, rtol=1e-4, atol=1e-5)


def test_a_classifier_that_ends_in_a_softmax_scores_and_trains_as_its_logits():
    model = networks.classifier("softplus", normalization=True)
    softmax = keras.layers.Dense(networks.CLASSES, activation="softmax")
    whole = keras.Model(model.input, softmax(model.get_layer("logits").input))
    softmax.set_weights(model.get_layer("logits").get_weights())
    x, y = networks.batch(6)
    scores = [
        keras_lodin.ODINDetector(one, input_range=(0, 1)).predict(x, verbose=0)["score"]
        for one in (model, whole)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)
    trained = keras_lodin.GQModel(whole, gq_weight=0.1)
    trained.compile("sgd", "sparse_categorical_crossentropy")
    assert np.isfinite(trained.fit(x, y, verbose=0).history["gq"]).all()
    softmax.activation = keras.activations.relu
    trained.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="has changed since it was wrapped"):
        trained.fit(x, y, verbose=0)
