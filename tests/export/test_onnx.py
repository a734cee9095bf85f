import json
import os
import subprocess
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_lodin.detectors import MahalanobisDetector, MSPDetector, ODINDetector
from keras_lodin.export import load_artifact
from keras_lodin.export.onnx import conversion
from keras_lodin.export.onnx.rules import RULES
from keras_lodin.metrics.p_values import TABLE_SIZE
from tests.detectors.adapting import adapted
from tests.export.networks import DETECTORS, small_classifier

FORMAT = "onnx"

RIGHT_RULES = dict(RULES)

FRESH_PROCESS = """
import sys
for name in ("keras", "keras_lodin", "tensorflow", "tf2onnx", "onnx"):
    sys.modules[name] = None  # an import of any of them now fails
import numpy as np
import onnxruntime
file, inputs, outputs = sys.argv[1:]
session = onnxruntime.InferenceSession(file)
names = ["logits", "score", "is_ood"]
results = session.run(names, {session.get_inputs()[0].name: np.load(inputs)})
np.savez(outputs, **dict(zip(names, results)))
"""


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def scored(path, **inputs):
    names = ["logits", "score", "is_ood"]
    return dict(zip(names, session_of(path).run(names, inputs), strict=True))


def assert_same_outputs(actual, expected):
    for name in ("logits", "score"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_file_scores_in_a_process_with_onnxruntime_alone(exported, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    subprocess.run(
        [
            sys.executable,
            "-c",
            FRESH_PROCESS,
            exported.path,
            tmp_path / "images.npy",
            tmp_path / "outputs.npz",
        ],
        check=True,
        cwd=tmp_path,
        env=os.environ,
    )
    expected = exported.expected
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert_same_outputs(outputs, expected)
        assert outputs["is_ood"].dtype == bool
        # The threshold stands between two scores: rounding moves none across it.
        np.testing.assert_array_equal(outputs["is_ood"], expected["is_ood"])


@pytest.mark.grid(6)
@pytest.mark.parametrize("kind", DETECTORS)
def test_every_detector_exports(kind, images, tmp_path):
    detector = adapted(DETECTORS[kind](small_classifier()))
    detector.threshold = float(np.median(detector.predict(images, verbose=0)["score"]))
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    expected = detector.predict(images, verbose=0)
    for count in (1, 7):
        outputs = scored(tmp_path / "detector.onnx", images=images[:count])
        assert_same_outputs(outputs, {name: value[:count] for name, value in expected.items()})
        np.testing.assert_array_equal(outputs["is_ood"], expected["is_ood"][:count])


def test_perturbation_is_in_the_file(images, tmp_path):
    """A file that lost the gradient would score as if epsilon were 0."""
    detector = ODINDetector(small_classifier(), epsilon=0.1)
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    score = scored(tmp_path / "detector.onnx", images=images)["score"]
    expected = detector.predict(images, verbose=0)["score"]
    detector.epsilon = 0.0
    unperturbed = detector.predict(images, verbose=0)["score"]
    np.testing.assert_allclose(score, expected, rtol=1e-4)
    assert (score > 1.01 * unperturbed).all()


def test_features_their_gradient_and_the_statistics_are_in_the_file(images, tmp_path):
    classifier = small_classifier()
    names = [layer.name for layer in classifier.layers[:2]]
    detector = adapted(MahalanobisDetector(classifier, names, layer_weights=[0.3, 1], epsilon=0.05))
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    score = scored(tmp_path / "detector.onnx", images=images)["score"]
    np.testing.assert_allclose(score, detector.predict(images, verbose=0)["score"], rtol=1e-4)
    # A file that lost the gradient would score as if epsilon were 0.
    unperturbed = adapted(MahalanobisDetector(classifier, names, layer_weights=[0.3, 1]))
    assert score.mean() > 0.8 * unperturbed.predict(images, verbose=0)["score"].mean()
    report = json.loads((tmp_path / "detector.report.json").read_text())
    for figures in report["parity"]:
        assert figures["gradient"] < 1e-3
        assert figures["signs"] == 0.0


def test_threshold_is_an_optional_input(exported, images):
    session = session_of(exported.path)
    assert [value.name for value in session.get_inputs()] == ["images"]
    assert [value.name for value in session.get_overridable_initializers()] == ["threshold"]
    score = scored(exported.path, images=images)["score"]
    for threshold in (-np.inf, np.median(score), np.inf):
        threshold = np.array(threshold, "float32")
        moved = scored(exported.path, images=images, threshold=threshold)
        np.testing.assert_array_equal(moved["is_ood"], score <= threshold)


@pytest.mark.parametrize(
    "shape", [(8, 8, 3), pytest.param((None, None, 3), marks=pytest.mark.slow)]
)
def test_channels_first_on_request(shape, images, tmp_path):
    detector = ODINDetector(small_classifier(shape))
    path = tmp_path / "detector.onnx"
    detector.export(path, format="onnx", data_format="channels_first", verbose=False)
    (value,) = session_of(path).get_inputs()
    sizes = [8, 8] if shape[0] else ["height", "width"]
    assert value.shape == ["batch", 3, *sizes]
    expected = detector.predict(images, verbose=0)
    outputs = scored(path, images=np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    assert_same_outputs(outputs, expected)
    artifact = load_artifact(path)
    assert artifact.input_shape == (None, *shape)
    assert_same_outputs(artifact.score(images), expected)


def test_inputs_and_outputs_are_named_and_their_free_sizes_too(tmp_path):
    detector = ODINDetector(small_classifier((None, None, 3), name="photo"))
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    session = session_of(tmp_path / "detector.onnx")
    (value,) = session.get_inputs()
    assert (value.name, value.shape) == ("photo", ["batch", "height", "width", 3])
    outputs = {value.name: value for value in session.get_outputs()}
    assert set(outputs) == {"logits", "score", "is_ood", "p_value"}
    assert outputs["logits"].shape == ["batch", 4]
    assert outputs["score"].shape == ["batch"]
    assert outputs["is_ood"].type == "tensor(bool)"


def test_metadata_lies_in_the_file(exported):
    properties = session_of(exported.path).get_modelmeta().custom_metadata_map
    assert properties["detector"] == "ODINDetector"
    assert float(properties["temperature"]) == 1000.0
    assert float(properties["epsilon"]) == 0.0014
    assert float(properties["threshold"]) == pytest.approx(exported.detector.threshold, rel=1e-7)
    assert float(properties["tpr"]) == 0.8
    assert json.loads(properties["class_names"]) == ["a", "b", "c", "d"]
    assert properties["score_direction"] == "higher is more in-distribution"
    assert properties["keras_lodin_version"]
    assert load_artifact(exported.path).metadata["epsilon"] == 0.0014


def test_report_is_printed_and_lies_beside_the_file(exported):
    folder = exported.path.parent
    assert "opset 18" in exported.printed
    assert "batch 20 x 8 x 8 x 3" in exported.printed
    report = json.loads((folder / "detector.report.json").read_text())
    assert [figures["batch"][0] for figures in report["parity"]] == [1, 3, 20]
    for figures in report["parity"]:
        assert figures["gradient"] < 1e-5
        assert figures["signs"] == 0.0
    assert report["bytes"] == exported.path.stat().st_size
    assert report["operations"]["Conv"] == 3
    assert report["versions"]["onnxruntime"] == onnxruntime.__version__
    assert sorted(path.name for path in folder.iterdir()) == [
        "detector.onnx",
        "detector.report.json",
    ]


def test_file_is_valid_and_of_standard_operations(exported):
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert {entry.version for entry in model.opset_import if not entry.domain} == {18}


@pytest.mark.grid(4)
@pytest.mark.parametrize("kind", ["dense", "convolution", "depthwise"])
def test_weights_are_in_the_file_once(kind, tmp_path):
    steps = {
        "dense": [layers.Flatten(), layers.Dense(300), layers.Dense(300)],
        "convolution": [layers.Conv2D(100, 3), layers.Conv2D(100, 3, strides=2)],
        "depthwise": [
            layers.Conv2D(200, 3),
            layers.DepthwiseConv2D(9, padding="same"),
            layers.DepthwiseConv2D(9, strides=2, padding="same"),
        ],
    }
    head = [layers.GlobalAveragePooling2D()] if kind != "dense" else []
    classifier = keras.Sequential([keras.Input((16, 16, 3)), *steps[kind], *head, layers.Dense(5)])
    path = tmp_path / "detector.onnx"
    ODINDetector(classifier).export(path, format="onnx", verbose=False)
    assert path.stat().st_size < 4 * (classifier.count_params() + 2 * TABLE_SIZE) + 40_000


def test_uncalibrated_detector_exports_with_a_note(images, tmp_path, capsys):
    MSPDetector(small_classifier()).export(tmp_path / "detector.onnx", format="onnx")
    assert "no threshold" in capsys.readouterr().out
    assert not scored(tmp_path / "detector.onnx", images=images)["is_ood"].any()
    assert load_artifact(tmp_path / "detector.onnx").threshold == -np.inf


def softmax_head():
    return keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(4, activation="softmax")]
    )


def nested():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Dense(4)(small_classifier()(layers.Rescaling(0.5)(inputs))))


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = layers.Conv2D(4, 3, activation="tanh")
        self.dense = layers.Dense(4)
        self.flatten = layers.Flatten()

    def call(self, inputs):
        return self.dense(self.flatten(self.convolution(inputs)))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), "float32"))
    return model


@pytest.mark.grid(4)
@pytest.mark.parametrize("classifier", [softmax_head, nested, subclassed])
def test_classifiers_of_all_kinds_export(classifier, images, tmp_path):
    detector = ODINDetector(classifier())
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    outputs = scored(tmp_path / "detector.onnx", images=images)
    assert_same_outputs(outputs, detector.predict(images, verbose=0))


@pytest.mark.grid(2)
@pytest.mark.parametrize("shape", [(7,), (9, 2)])
def test_inputs_need_not_be_images(shape, tmp_path):
    classifier = keras.Sequential(
        [keras.Input(shape), layers.Flatten(), layers.Dense(8, "tanh"), layers.Dense(4)]
    )
    detector = ODINDetector(classifier)
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    inputs = np.random.default_rng(0).uniform(size=(5, *shape)).astype("float32")
    outputs = scored(tmp_path / "detector.onnx", images=inputs)
    assert_same_outputs(outputs, detector.predict(inputs, verbose=0))


@pytest.mark.slow
def test_recurrent_loop_is_refused_with_its_layer_and_what_to_do(tmp_path):
    classifier = keras.Sequential(
        [keras.Input((6, 3)), layers.SimpleRNN(4, name="reader"), layers.Dense(4)]
    )
    with pytest.raises(ValueError, match=r"unroll=True.*tf_saved_model.*While.*layers reader"):
        ODINDetector(classifier).export(tmp_path / "detector.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


def dense_after(*steps, shape=(8, 8, 3)):
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


@pytest.mark.slow
def test_unknown_operation_is_refused_with_its_layer(tmp_path):
    classifier = dense_after(layers.Lambda(lambda x: tf.math.erfinv(0.5 * x), name="inverse"))
    with pytest.raises(ValueError, match=r"operations Erfinv .*from the layers inverse"):
        ODINDetector(classifier).export(tmp_path / "detector.onnx", format="onnx")
    function_only = dense_after(lambda x: ops.fft((x, x))[0])
    with pytest.raises(ValueError, match=r"operations .*FFT.*functions outside of layers"):
        ODINDetector(function_only).export(tmp_path / "detector.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


class Branch(keras.layers.Layer):
    def call(self, x):
        return ops.cond(ops.sum(x) > 0, lambda: x, lambda: 2 * x)


def test_branch_is_refused_with_its_layer_and_what_to_do(tmp_path):
    classifier = dense_after(Branch(name="fork"))
    with pytest.raises(ValueError, match=r"keras\.ops\.where.*If.*from the layers fork"):
        ODINDetector(classifier).export(tmp_path / "detector.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


class Stateful(keras.layers.Layer):
    """Counts its calls; adds the count, or a random number, to what it gives if told to."""

    def __init__(self, adds):
        super().__init__(name="stateful")
        self.adds = adds
        self.seed_generator = keras.random.SeedGenerator(0)

    def build(self, input_shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.count.assign_add(1.0)
        if self.adds == "count":
            return x + self.count
        if self.adds == "noise":
            return x + keras.random.normal(ops.shape(x), seed=self.seed_generator)
        return x


@pytest.mark.parametrize("adds", ["count", "noise"])
def test_state_that_outputs_depend_on_is_refused(adds, tmp_path):
    detector = ODINDetector(dense_after(Stateful(adds)))
    with pytest.raises(ValueError, match=r"outputs depend on its input alone.*Assign.*stateful"):
        detector.export(tmp_path / "detector.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


def test_state_that_no_output_depends_on_is_left_out(images, tmp_path):
    detector = ODINDetector(dense_after(Stateful(None)))
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    outputs = scored(tmp_path / "detector.onnx", images=images)
    assert_same_outputs(outputs, detector.predict(images, verbose=0))


def test_detector_that_tensorflow_cannot_trace_is_refused_before_anything_is_written(tmp_path):
    resized = dense_after(layers.Lambda(lambda x: tf.image.resize(x, (5, 5), "area")))
    with pytest.raises(ValueError, match=r"cannot trace the detector.*ResizeArea"):
        ODINDetector(resized).export(tmp_path / "detector.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


def test_score_that_is_no_number_is_out_of_distribution(exported, images):
    images[1, 3, 3] = np.nan
    outputs = scored(exported.path, images=images)
    assert np.isnan(outputs["score"]).tolist() == [False, True] + [False] * 18
    assert outputs["is_ood"][1]


def test_logits_that_are_far_apart_have_the_same_score(images, tmp_path):
    classifier = dense_after(layers.Rescaling(1e4))
    detector = ODINDetector(classifier, temperature=1.0)
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    outputs = scored(tmp_path / "detector.onnx", images=images)
    expected = detector.predict(images, verbose=0)
    assert np.ptp(expected["logits"], axis=1).min() > 200
    assert_same_outputs(outputs, expected)


@pytest.mark.grid(4)
@pytest.mark.parametrize("step", ["relu", "normalization", "pooling"])
def test_image_of_zeros_has_the_same_score(step, tmp_path):
    """Every unit of it lies on a kink, and every norm is zero."""
    steps = {
        "relu": [layers.Conv2D(6, 3, padding="same", activation="relu")],
        "normalization": [layers.UnitNormalization(axis=[1, 2]), layers.Conv2D(6, 3)],
        "pooling": [layers.Conv2D(6, 3, activation="relu"), layers.MaxPooling2D(3, 2)],
    }
    detector = ODINDetector(dense_after(*steps[step]), temperature=10.0, epsilon=0.02)
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    black = np.zeros((2, 8, 8, 3), "float32")
    outputs = scored(tmp_path / "detector.onnx", images=black)
    assert_same_outputs(outputs, detector.predict(black, verbose=0))


@pytest.mark.grid(4)
@pytest.mark.parametrize("step", ["hard choice", "saturation", "overflow", "codes"])
def test_what_parts_runtimes_far_outside_of_the_range_is_no_reason_to_refuse(step, tmp_path):
    steps = {
        # Far outside, several channels are 1 up to rounding: which is the largest?
        "hard choice": lambda x: x * ops.one_hot(ops.argmax(ops.tanh(x), -1), 3),
        "saturation": lambda x: ops.max_pool(ops.tanh(20 * (x - 0.5)), 2, 1, "same"),
        "overflow": lambda x: ops.exp(12 * x),
        "codes": lambda x: x * layers.Embedding(2, 3)(ops.cast(ops.floor(x[..., 0]), "int32")),
    }
    detector = ODINDetector(dense_after(steps[step]))
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    assert (tmp_path / "detector.onnx").exists()


WRONG_RULES = {
    # By operation: the layers that need it, and a rule that gives something else.
    "ReluGrad": (lambda: layers.ReLU(), lambda builder, dy, y: dy),
    "Relu6Grad": (
        lambda: layers.Activation("relu6"),
        lambda builder, dy, y: dy * (y > 0.0).op("Cast", to=1),
    ),
    "TanhGrad": (lambda: layers.Activation("tanh"), lambda builder, y, dy: dy),
    "MaxPoolGrad": (lambda: layers.MaxPooling2D(3, 1), lambda *inputs: changed("none", *inputs)),
    "SelectV2": (
        lambda: layers.Lambda(lambda x: tf.where(x > 0.0, tf.math.log(x + 0.1), 0.0)),
        lambda *inputs: as_products(*inputs),
    ),
}


def changed(reduction, builder, *inputs):
    """The rule of max pooling, its windows' gradients not added up."""
    plain = builder.ops

    def ops_of(kind, count, *inputs, **attributes):
        if kind == "ScatterElements":
            attributes["reduction"] = reduction
        return plain(kind, count, *inputs, **attributes)

    builder.ops = ops_of
    return RIGHT_RULES["MaxPoolGrad"](builder, *inputs)


def as_products(builder, condition, x, y):
    chosen = condition.op("Cast", to=x.dtype) * x
    return chosen + condition.op("Not").op("Cast", to=x.dtype) * y


@pytest.mark.grid(6)
@pytest.mark.parametrize("operation", WRONG_RULES)
def test_wrong_rule_is_caught(operation, tmp_path, monkeypatch):
    layer, wrong = WRONG_RULES[operation]
    detector = ODINDetector(dense_after(layers.Conv2D(6, 3), layer()))
    detector.export(tmp_path / "right.onnx", format="onnx", verbose=False)
    monkeypatch.setitem(RULES, operation, wrong)
    with pytest.raises(ValueError, match="fault of the export"):
        detector.export(tmp_path / "wrong.onnx", format="onnx")
    assert not list(tmp_path.glob("wrong*"))


@pytest.mark.grid(2)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_other_precisions_are_refused_with_what_to_do(policy, images, tmp_path):
    classifier = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, dtype=policy, name="half"),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    detector = ODINDetector(classifier)
    with pytest.raises(ValueError, match=r"dtype_policy = 'float32'.*Received: the layers half"):
        detector.export(tmp_path / "detector.onnx", format="onnx")
    assert not list(tmp_path.iterdir())
    for layer in classifier.layers:
        layer.dtype_policy = "float32"
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    outputs = scored(tmp_path / "detector.onnx", images=images)
    assert_same_outputs(outputs, detector.predict(images, verbose=0))


def test_file_that_no_runtime_loads_is_never_left_behind(detector, tmp_path, monkeypatch):
    convert = conversion.convert

    def broken(*arguments):
        model = convert(*arguments)
        model.proto.graph.node[0].input[0] = "nowhere"
        return model

    monkeypatch.setattr(conversion, "convert", broken)
    with pytest.raises(ValueError, match="not one that onnxruntime runs; nothing was written"):
        detector.export(tmp_path / "detector.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


def test_wrong_file_is_never_left_behind(exported, tmp_path, monkeypatch):
    convert = conversion.convert

    def wrong(*arguments):
        model = convert(*arguments)
        for node in model.proto.graph.node:
            if node.op_type == "Sign":
                node.op_type = "Abs"
        for node in model.proto.graph.node:
            if node.op_type == "Erf":
                node.op_type = "Tanh"
        return model

    path = exported.copied(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(conversion, "convert", wrong)
    with pytest.raises(ValueError, match="disagrees with the detector; nothing was written"):
        exported.detector.export(path, format="onnx")
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_unusable_paths_and_options_are_refused(detector, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.onnx"):
        detector.export(tmp_path / "detector", format="onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ValueError, match="there is a folder of that name"):
        detector.export(tmp_path / "folder.onnx", format="onnx")
    with pytest.raises(ValueError, match="Received: data_format='NCHW'"):
        detector.export(tmp_path / "detector.onnx", format="onnx", data_format="NCHW")
    with pytest.raises(ValueError, match="Received: an array of no samples"):
        detector.export(
            tmp_path / "detector.onnx", format="onnx", sample_inputs=np.zeros((0, 8, 8, 3))
        )
    vector = MSPDetector(keras.Sequential([keras.Input((7,)), layers.Dense(4)]))
    with pytest.raises(ValueError, match="no channels to put first"):
        vector.export(tmp_path / "v.onnx", format="onnx", data_format="channels_first")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


def test_export_leaves_functions_traced_as_before(exported):
    assert not tf.config.functions_run_eagerly()
