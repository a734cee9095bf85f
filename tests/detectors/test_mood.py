"""MOOD: the exit that an image's complexity chooses, and the score there."""

import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from PIL import Image

import keras_lodin
from keras_lodin.data.complexity import png_sizes
from keras_lodin.export import load_artifact
from tests import networks
from tests.processes import optimised_as_here, run_python

BOUNDARIES = (90.0, 126.0)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return networks.with_exits()


@pytest.fixture(scope="module")
def images():
    """Images from black to noise, so that every exit is taken."""
    rng = np.random.default_rng(0)
    amount = rng.permutation(np.linspace(0.0, 1.0, 30)) ** 2
    shape = (30, 8, 8, 1)
    some = rng.uniform(size=shape) < amount[:, None, None, None]
    return (some * rng.uniform(size=shape)).astype("float32")


@pytest.fixture(scope="module")
def adapted(network, images):
    detector = keras_lodin.MOODDetector(network, BOUNDARIES, temperature=2.0)
    detector.adapt(images[:20])
    return detector


@pytest.fixture
def detector(adapted):
    """The same for all, so that it is traced once; a test that adapts it makes one of its own."""
    yield adapted
    adapted.threshold = -np.inf


def sizes_by_pillow(images):
    sizes = []
    for image in np.round(255 * images).astype("uint8"):
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "PNG", optimize=True)
        sizes.append(file.tell())
    return np.array(sizes)


def recomputed(network, images, id_images, boundaries, temperature):
    """Scores, logits and exits in plain NumPy, every exit computed for every image."""

    def energies(x):
        logits = np.stack(network(x)).astype("float64") / temperature
        largest = logits.max(-1)
        log_sum = np.log(np.exp(logits - largest[..., None]).sum(-1))
        return temperature * (largest + log_sum)

    exits = np.searchsorted(boundaries, sizes_by_pillow(images), side="left")
    rows = np.arange(len(images))
    score = (energies(images) - energies(id_images).mean(1, keepdims=True))[exits, rows]
    return score, np.stack(network(images))[exits, rows], exits


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (5, 7, 4)])
def test_complexity_is_the_size_of_the_png_file_that_pillow_writes(shape, rng):
    images = rng.integers(0, 3, size=(6, *shape)) / 2.0 * 0.8
    np.testing.assert_array_equal(png_sizes(images, (0.0, 1.0)), sizes_by_pillow(images))
    np.testing.assert_array_equal(png_sizes(255.0 * images, (0.0, 255.0)), sizes_by_pillow(images))


def test_scores_equal_a_plain_recomputation(detector, network, images):
    score, logits, exits = recomputed(network, images, images[:20], BOUNDARIES, 2.0)
    assert set(exits) == {0, 1, 2}
    outputs = detector.predict(images, batch_size=7, verbose=0)
    np.testing.assert_allclose(outputs["score"], score, atol=1e-5)
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)


def test_a_size_on_a_boundary_belongs_to_the_earlier_exit(detector):
    sizes = np.array([0.0, 90.0, 90.5, 126.0, 127.0, 1e6], "float32")
    np.testing.assert_array_equal(detector.exit_of(sizes), [0, 0, 1, 1, 2, 2])


def test_an_images_score_does_not_depend_on_who_else_is_in_the_batch(detector, images):
    together = ops.convert_to_numpy(detector(images)["score"])
    for number in range(0, 30, 7):
        alone = ops.convert_to_numpy(detector(images[number : number + 1])["score"])
        np.testing.assert_allclose(alone, together[number : number + 1], atol=1e-5)


def test_training_mode_does_not_change_the_scores(detector, images):
    np.testing.assert_allclose(
        detector(images, training=True)["score"], detector(images)["score"], atol=1e-6
    )


def test_batches_that_all_leave_at_one_exit_are_scored(detector, network, images):
    score, _, exits = recomputed(network, images, images[:20], BOUNDARIES, 2.0)
    for number in range(3):
        chosen = exits == number
        found = detector.predict(images[chosen], verbose=0)["score"]
        np.testing.assert_allclose(found, score[chosen], atol=1e-5)


def test_means_are_those_of_the_data_given_whatever_the_batches(network, images):
    found = []
    for data, size in ((images, 30), (images, 4), (tf.data.Dataset.from_tensor_slices(images), 0)):
        detector = keras_lodin.MOODDetector(network, BOUNDARIES)
        detector.adapt(data if size else data.batch(11), batch_size=size or 128)
        found.append(detector.mean_energies)
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-6)
    logits = np.stack(network(images)).astype("float64")
    np.testing.assert_allclose(found[0], np.log(np.exp(logits).sum(-1)).mean(-1), rtol=1e-5)


def test_in_distribution_data_scores_zero_on_average_at_every_exit(network, images):
    detector = keras_lodin.MOODDetector(network, (1e8, 2e8))
    detector.adapt(images)
    assert abs(ops.convert_to_numpy(detector(images)["score"]).mean()) < 1e-5


def test_boundaries_chosen_by_adapt_share_the_images_out(network, rng):
    # From sparse to dense noise: sizes with few ties.
    amount = np.linspace(0.05, 0.6, 300)[:, None, None, None]
    shape = (300, 8, 8, 1)
    images = ((rng.uniform(size=shape) < amount) * rng.uniform(size=shape)).astype("float32")
    detector = keras_lodin.MOODDetector(network, boundaries=None)
    detector.adapt(images)
    exits = ops.convert_to_numpy(detector.exit_of(detector.side_values(images)["complexity"]))
    assert np.bincount(exits, minlength=3) == pytest.approx([100, 100, 100], abs=15)
    assert detector.get_config()["boundaries"] is None


def test_adapting_again_starts_from_nothing_and_forgets_the_threshold(network, images):
    detector = keras_lodin.MOODDetector(network, BOUNDARIES, temperature=2.0)
    detector.adapt(images[:20])
    detector.threshold = 1.0
    detector.adapt(images[10:])
    assert not detector.calibrated
    fresh = keras_lodin.MOODDetector(detector.classifier, BOUNDARIES, temperature=2.0)
    fresh.adapt(images[10:])
    np.testing.assert_array_equal(detector.mean_energies, fresh.mean_energies)


def test_without_statistics_it_refuses_to_score(network, images, tmp_path):
    detector = keras_lodin.MOODDetector(network, BOUNDARIES)
    assert not detector.adapted
    message = r"MOODDetector needs statistics.*`adapt\(x, y\)`.*Received: 'mood_detector"
    for attempt in (
        lambda: detector(images),
        lambda: detector.predict(images, verbose=0),
        lambda: detector.calibrate(images),
        lambda: keras_lodin.evaluate({"mood": detector}, images, {"ood": images}),
        lambda: detector.export(tmp_path / "artifact"),
    ):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            attempt()
    assert not list(tmp_path.iterdir())


def test_a_failing_adapt_leaves_the_statistics_as_they_were(detector, images):
    before = detector.mean_energies
    spoilt = images.copy()
    spoilt[3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        detector.adapt(spoilt)
    np.testing.assert_array_equal(detector.mean_energies, before)
    assert detector.adapted


def test_the_threshold_keeps_its_promise(detector, images):
    detector.calibrate(images, tpr=0.9)
    outputs = detector.predict(images, verbose=0)
    assert (~outputs["is_ood"]).mean() >= 0.9
    np.testing.assert_array_equal(outputs["is_ood"], outputs["score"] <= detector.threshold)


def test_a_nan_image_is_out_of_distribution(detector, images):
    spoilt = images.copy()
    spoilt[4] = np.nan
    np.testing.assert_array_equal(detector.predict(spoilt, verbose=0)["is_ood"], np.arange(30) == 4)


LOAD_AND_SCORE = """
import json, sys
import keras, keras_lodin
import numpy as np
images = np.load(sys.argv[1] + "/images.npy")
detector = keras.models.load_model(sys.argv[1] + "/detector.keras")
outputs = detector.predict(images, verbose=0)
composed = keras.models.load_model(sys.argv[1] + "/composed.keras").predict(images, verbose=0)
print(json.dumps([detector.threshold, outputs["score"].tolist(), composed.tolist()]))
"""


@pytest.mark.slow
def test_a_saved_detector_is_the_same_in_a_fresh_process(network, images, tmp_path):
    detector = keras_lodin.MOODDetector(network, None, temperature=2.0, class_names=list("abcdefg"))
    inputs = keras.Input((8, 8, 1))
    # Composed before `adapt`: its weights follow.
    composed = keras.Model(inputs, detector(inputs)["score"])
    detector.adapt(images)
    detector.calibrate(images, tpr=0.9)
    detector.save(tmp_path / "detector.keras")
    composed.save(tmp_path / "composed.keras")
    np.save(tmp_path / "images.npy", images)
    threshold, scores, composed_scores = json.loads(
        run_python(optimised_as_here(LOAD_AND_SCORE), tmp_path).splitlines()[-1]
    )
    assert threshold == detector.threshold
    expected = detector.predict(images, verbose=0)["score"]
    np.testing.assert_array_equal(np.float32(scores), expected)
    np.testing.assert_array_equal(np.float32(composed_scores), expected)
    # Means, boundaries, and whether there are; threshold, tpr and confidence; the p-values.
    own = (3 + 2 + 1) + 3 + (4096 + 4097)
    assert detector.count_params() == network.count_params() + own


@pytest.mark.grid(4)
@pytest.mark.parametrize(
    ("format", "name"),
    [("tf_saved_model", "artifact"), ("onnx", "detector.onnx"), ("litert", "detector.tflite")],
)
def test_an_artifact_takes_the_complexity_and_scores_as_the_detector(
    format, name, detector, images, tmp_path
):
    detector.calibrate(images, tpr=0.8)
    detector.export(tmp_path / name, format=format, verbose=False)
    artifact = load_artifact(tmp_path / name)
    assert artifact.metadata["side_inputs"] == ["complexity"]
    outputs, expected = artifact.score(images), detector.predict(images, verbose=0)
    np.testing.assert_allclose(outputs["score"], expected["score"], atol=1e-5)
    clear = np.abs(expected["score"] - detector.threshold) > 1e-4
    assert set(expected["is_ood"][clear]) == {False, True}
    np.testing.assert_array_equal(outputs["is_ood"][clear], expected["is_ood"][clear])
    np.testing.assert_allclose(outputs["logits"], expected["logits"], atol=1e-5)


def test_a_server_needs_nothing_but_the_file_and_pillow(detector, network, images, tmp_path):
    import onnxruntime

    path = tmp_path / "detector.onnx"
    detector.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["images", "complexity"]
    complexity = sizes_by_pillow(images).astype("float32")
    score = session.run(["score"], {"images": images, "complexity": complexity})[0]
    expected, _, _ = recomputed(network, images, images[:20], BOUNDARIES, 2.0)
    np.testing.assert_allclose(score, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_evaluate_measures_the_accuracy_of_the_exits_taken(detector, network, images, rng):
    labels = rng.integers(0, networks.CLASSES, size=30)
    last = keras_lodin.models.at_exit(network)
    evaluation = keras_lodin.evaluate(
        {"mood": detector, "msp": keras_lodin.MSPDetector(last)},
        (images, labels),
        {"ood": images[::-1]},
        resamples=10,
        model={"mood": "net, own exits", "msp": "net"},
    )
    _, logits, _ = recomputed(network, images, images[:20], BOUNDARIES, 2.0)
    assert evaluation.id["accuracy_by_model"] == {
        "net, own exits": np.mean(logits.argmax(-1) == labels),
        "net": np.mean(ops.convert_to_numpy(last(images)).argmax(-1) == labels),
    }


@pytest.mark.parametrize(
    "boundaries", [(), (1.0,), (2.0, 1.0), (1.0, 1.0), (0.0, 1.0), (1.0, np.nan), (1.0, np.inf)]
)
def test_boundaries_that_do_not_fit_are_refused(network, boundaries):
    with pytest.raises(ValueError, match=r"2 rising sizes.*None to have.*Received: boundaries=\("):
        keras_lodin.MOODDetector(network, boundaries)


def test_classifiers_without_exits_or_without_images_are_refused(classifier):
    with pytest.raises(ValueError, match=r"several exits"):
        keras_lodin.MOODDetector(classifier)
    inputs = keras.Input((10,))
    vectors = keras.Model(inputs, [keras.layers.Dense(3)(inputs) for _ in range(2)])
    with pytest.raises(ValueError, match=r"1 to 4 channels.*Received: inputs of shape \(10,\)"):
        keras_lodin.MOODDetector(vectors, (100.0,))


def test_pixels_outside_the_input_range_are_refused(detector, images):
    for attempt in (detector.adapt, detector.calibrate):
        with pytest.raises(ValueError, match=r"input_range=\(0, 1\).*Received: values from"):
            attempt(255.0 * images)


def test_a_detector_for_one_output_says_what_to_do_with_several(network):
    with pytest.raises(ValueError, match=r"whole into a MOODDetector.*`keras_lodin.models.at_exit"):
        keras_lodin.ODINDetector(network)
