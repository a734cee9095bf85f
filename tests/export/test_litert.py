import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_lodin.detectors import MahalanobisDetector, ODINDetector
from keras_lodin.export import load_artifact
from keras_lodin.export.litert import file as litert
from keras_lodin.export.litert.rules import RULES
from keras_lodin.metrics.p_values import TABLE_SIZE
from tests import networks
from tests.detectors.adapting import adapted
from tests.export.networks import DETECTORS
from tests.processes import forked

FORMAT = "litert"

ALONE = """
import sys
for name in ("keras", "keras_lodin"):
    sys.modules[name] = None  # an import of any of them now fails
import numpy as np
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    import tensorflow as tf
    Interpreter = tf.lite.Interpreter
runner = Interpreter("detector.tflite").get_signature_runner("serving_default")
np.savez("outputs.npz", **runner(images=np.load("images.npy")))
"""


def convolutional(**options):
    return networks.convolutional(shape=(8, 8, 3), **options)


def made_detector(images):
    detector = ODINDetector(
        convolutional(normalization=True), epsilon=0.01, class_names=list("abcdefg")
    )
    score = detector.predict(images, verbose=0)["score"]
    # Between two scores, so that rounding decides nothing.
    detector.threshold = float(np.sort(score)[3:5].mean())
    return detector


@pytest.fixture
def detector(images):
    return made_detector(images)


def written(detector, folder):
    detector.export(folder / "detector.tflite", format="litert", verbose=False)
    return folder / "detector.tflite"


def outputs_of(path, signature="serving_default", **inputs):
    return litert.Signature(path.read_bytes(), signature)(**inputs)


def assert_same_outputs(actual, expected):
    np.testing.assert_allclose(actual["logits"], expected["logits"], rtol=2e-5, atol=2e-6)
    # Relative: at temperature 1000 a score is a small number, and all of its digits count.
    np.testing.assert_allclose(actual["score"], expected["score"], rtol=3e-6)


def assert_scores_alone(python, exported, images, folder):
    exported.copied(folder)
    np.save(folder / "images.npy", images)
    subprocess.run([*python, "-c", ALONE], check=True, cwd=folder)
    expected = exported.expected
    with np.load(folder / "outputs.npz") as outputs:
        assert_same_outputs(outputs, expected)
        np.testing.assert_array_equal(outputs["is_ood"], expected["is_ood"])
    assert 0 < expected["is_ood"].sum() < len(images)


def test_file_scores_in_a_process_with_the_interpreter_alone(exported, images, tmp_path):
    # TensorFlow's, where there is no other: a fork has it.
    assert_scores_alone([forked("python")], exported, images, tmp_path)


@pytest.mark.slow
def test_file_scores_in_a_new_environment_without_tensorflow(exported, images, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
    python = tmp_path / "environment" / "bin" / "python"
    packages = ("ai-edge-litert", "numpy")
    subprocess.run([python, "-I", "-m", "pip", "install", "--quiet", *packages], check=True)
    absent = "import importlib.util as u; assert not u.find_spec('tensorflow')"
    subprocess.run([python, "-I", "-c", absent], check=True)
    assert_scores_alone([python, "-I"], exported, images, tmp_path)


@pytest.mark.slow
@pytest.mark.grid(6)
@pytest.mark.parametrize("kind", DETECTORS)
def test_every_detector_exports_with_a_free_batch(kind, images, tmp_path):
    detector = adapted(DETECTORS[kind](convolutional()))
    path, expected = written(detector, tmp_path), detector.predict(images, verbose=0)
    for count in (1, 7):
        outputs = outputs_of(path, images=images[:count])
        assert_same_outputs(outputs, {name: value[:count] for name, value in expected.items()})


def test_perturbation_is_in_the_file(images, tmp_path):
    """A file that lost the gradient would score as if epsilon were 0."""
    detector = ODINDetector(convolutional(), epsilon=0.1)
    score = outputs_of(written(detector, tmp_path), images=images)["score"]
    expected = detector.predict(images, verbose=0)["score"]
    detector.epsilon = 0.0
    np.testing.assert_allclose(score, expected, rtol=1e-4)
    assert (score > 1.01 * detector.predict(images, verbose=0)["score"]).all()


@pytest.mark.slow
def test_features_their_gradient_and_the_statistics_are_in_the_file(images, tmp_path):
    classifier = convolutional(normalization=True)
    names = [layer.name for layer in classifier.layers[1:3]]
    detector = adapted(MahalanobisDetector(classifier, names, epsilon=0.05))
    score = outputs_of(written(detector, tmp_path), images=images)["score"]
    np.testing.assert_allclose(score, detector.predict(images, verbose=0)["score"], rtol=1e-4)
    # A file that lost the gradient would score as if epsilon were 0.
    unperturbed = adapted(MahalanobisDetector(classifier, names))
    assert score.mean() > 0.8 * unperturbed.predict(images, verbose=0)["score"].mean()


def test_threshold_is_an_input_of_the_other_signature(exported, images):
    path = exported.path
    score = outputs_of(path, images=images)["score"]
    for threshold in (-np.inf, np.median(score), np.inf):
        threshold = np.float32(threshold)
        outputs = outputs_of(path, "with_threshold", images=images, threshold=threshold)
        np.testing.assert_array_equal(outputs["is_ood"], outputs["score"] <= threshold)


def test_score_that_is_not_a_number_is_out_of_distribution(exported, images):
    """LiteRT's converter turns `not (a > b)` into `a <= b`, which a NaN would pass."""
    images[0] = np.nan
    for name, more in (("serving_default", {}), ("with_threshold", {"threshold": np.float32(-1)})):
        outputs = outputs_of(exported.path, name, images=images, **more)
        assert np.isnan(outputs["score"][0])
        assert outputs["is_ood"][0]


@pytest.mark.slow
def test_features_that_are_no_numbers_are_near_nothing(images, tmp_path):
    """LiteRT's place of the largest of NaN lies outside of the table that is looked up."""
    path = written(adapted(MahalanobisDetector(convolutional())), tmp_path)
    images[0] = np.nan
    outputs = outputs_of(path, images=images)
    assert outputs["is_ood"][0]
    assert np.isfinite(outputs["score"][1:]).all()


@pytest.mark.slow
def test_file_needs_no_select_ops_and_holds_the_weights_at_most_twice(tmp_path):
    steps = [layers.Conv2D(64, 3, activation="relu"), layers.Conv2D(64, 3, activation="relu")]
    classifier = keras.Sequential(
        [keras.Input((12, 12, 3)), *steps, layers.Flatten(), layers.Dense(5)]
    )
    path = written(ODINDetector(classifier), tmp_path)
    assert path.stat().st_size < 4 * (2 * classifier.count_params() + 2 * TABLE_SIZE) + 40_000
    assert b"Flex" not in path.read_bytes()


def network(*steps, shape=(12, 12, 3)):
    return keras.Sequential([keras.Input(shape), *steps, layers.Flatten(), layers.Dense(4)])


def sliced():
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, activation="tanh")(inputs)[:, 1:-1:2, -5:, 1:3]
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def attention():
    inputs = keras.Input((12, 12, 3))
    x = layers.Reshape((9, 8))(layers.Conv2D(8, 4, strides=4)(inputs))
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4)(y, y)
    return keras.Model(inputs, layers.Dense(4)(x[:, 0]))


CLASSIFIERS = {
    "relu6 and average pooling": lambda: network(
        layers.Conv2D(6, 3, padding="same", activation="relu6"),
        layers.AveragePooling2D(3, 2, padding="same"),
    ),
    "overlapping maximum pooling": lambda: network(
        layers.Conv2D(6, 3, activation="tanh"), layers.MaxPooling2D(3, 2, padding="same")
    ),
    "maximum pooling over ties": lambda: network(layers.ReLU(), layers.MaxPooling2D(2)),
    "strided depthwise convolution": lambda: network(
        layers.DepthwiseConv2D(3, strides=2, padding="same", activation="elu")
    ),
    "depth multiplier": lambda: network(
        layers.DepthwiseConv2D((3, 2), depth_multiplier=2, activation="selu")
    ),
    "groups": lambda: network(
        layers.Conv2D(8, 3, activation="silu"), layers.Conv2D(8, 3, groups=4, strides=2)
    ),
    "dilation": lambda: network(layers.Conv2D(4, 3, dilation_rate=2, activation="relu")),
    "transposed convolution": lambda: network(layers.Conv2DTranspose(4, 3, strides=2)),
    "gelu": lambda: network(layers.Conv2D(6, 3, activation="gelu")),
    "bicubic resizing": lambda: network(layers.Resizing(5, 5, interpolation="bicubic")),
    "softplus and softsign": lambda: network(
        layers.Conv2D(6, 3, activation="softplus"), layers.Conv2D(6, 3, activation="softsign")
    ),
    "leaky relu and global pooling": lambda: network(
        layers.Conv2D(6, 3, activation="leaky_relu"), layers.GlobalMaxPooling2D()
    ),
    "series": networks.series,
    "vectors": networks.dense,
    "residual": lambda: networks.residual(normalization=True),
    "subclassed": networks.subclassed,
    "slices": sliced,
    "attention": attention,
}


@pytest.mark.slow
@pytest.mark.grid(20)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_layers_of_many_kinds_convert(name, rng, tmp_path):
    """The export itself compares outputs and input gradient; here, what the file gives again."""
    detector = ODINDetector(CLASSIFIERS[name](), epsilon=0.01)
    path = written(detector, tmp_path)
    inputs = rng.uniform(size=(5, *detector.input_shape_with_batch[1:])).astype("float32")
    outputs = load_artifact(path).score(inputs)
    assert_same_outputs(outputs, detector.predict(inputs, verbose=0))


REFUSED = {
    r"MaxPoolGrad|Conv2DBackpropInput \(free image sizes\)": lambda: keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    ),
    r"a loop": lambda: keras.Sequential([keras.Input((6, 3)), layers.SimpleRNN(4)]),
    r"no kernel": lambda: network(layers.UpSampling2D(2)),
}


@pytest.mark.slow
@pytest.mark.grid(3)
@pytest.mark.parametrize("message", REFUSED)
def test_what_litert_lacks_is_refused_with_what_to_do(message, tmp_path):
    advice = "format='tf_saved_model'"
    with pytest.raises(ValueError, match=f"{advice}.*{message}|{message}.*{advice}"):
        written(ODINDetector(REFUSED[message]()), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "mistake", [NotImplementedError, pytest.param(KeyError, marks=pytest.mark.slow)]
)
def test_a_mistake_in_a_rule_is_not_taken_for_a_limit_of_litert(
    mistake, detector, tmp_path, monkeypatch
):
    def mistaken(op, dy, x):
        raise mistake("of ours")

    monkeypatch.setitem(RULES, "ReluGrad", mistaken)
    with pytest.raises(mistake, match="of ours"):
        written(detector, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_wrong_file_is_never_left_behind(exported, tmp_path, monkeypatch):
    path = exported.copied(tmp_path)
    before = path.read_bytes()
    monkeypatch.setitem(RULES, "ReluGrad", lambda op, dy, x: dy)
    with pytest.raises(ValueError, match="disagrees with the detector; nothing was written"):
        written(exported.detector, tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_metadata_lies_in_the_file(exported):
    with zipfile.ZipFile(exported.path) as archive:
        metadata = json.loads(archive.read("keras_lodin.json"))
    assert metadata["detector"] == "ODINDetector"
    assert metadata["class_names"] == list("abcdefg")
    artifact = load_artifact(exported.path)
    assert artifact.metadata == metadata
    assert artifact.threshold == pytest.approx(exported.detector.threshold, rel=1e-7)


def test_report_is_printed(exported):
    assert "LiteRT file of ODINDetector" in exported.printed
    assert "threshold" in exported.printed


def test_unusable_paths_and_other_files_are_refused(detector, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.tflite"):
        detector.export(tmp_path / "detector", format="litert")
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(ValueError, match="there is a folder of that name"):
        detector.export(tmp_path / "folder.tflite", format="litert")
    (tmp_path / "other.tflite").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not written by keras-lodin"):
        load_artifact(tmp_path / "other.tflite")


def test_missing_interpreter_is_an_error_that_says_what_to_install(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(tf.lite, "Interpreter", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match="pip install ai-edge-litert"):
        written(detector, tmp_path)
    assert not list(tmp_path.iterdir())
