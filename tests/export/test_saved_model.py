import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lodin.detectors import MSPDetector, ODINDetector
from keras_lodin.export.formats import export_detector
from tests.detectors.adapting import adapted
from tests.export.networks import DETECTORS, small_classifier

FORMAT = "tf_saved_model"

FRESH_PROCESS = """
import sys
for name in ("keras", "keras_lodin"):
    sys.modules[name] = None  # an import of either now fails
import numpy as np
import tensorflow as tf
folder, inputs, outputs = sys.argv[1:]
loaded = tf.saved_model.load(folder)
images = tf.constant(np.load(inputs))
scored = loaded.signatures["serving_default"](images=images)
np.savez(outputs, **{name: value.numpy() for name, value in scored.items()})
"""


def assert_same_outputs(actual, expected):
    for name in ("logits", "score"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(actual["is_ood"], expected["is_ood"])


@pytest.mark.slow
def test_saved_model_scores_in_a_process_without_keras_and_this_package(exported, images, tmp_path):
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
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert set(outputs) == {"logits", "score", "is_ood", "p_value"}
        assert_same_outputs(outputs, exported.expected)
        assert outputs["is_ood"].sum() == 3  # of 20, at a TPR of 0.8 on fresh data


@pytest.mark.grid(6)
@pytest.mark.parametrize("kind", DETECTORS)
def test_every_detector_exports(kind, images, tmp_path):
    detector = adapted(DETECTORS[kind](small_classifier()))
    detector.calibrate(images, tpr=0.8, verbose=0)
    detector.export(tmp_path / "artifact", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "artifact"))
    expected = detector.predict(images, verbose=0)
    for count in (1, 7):
        outputs = loaded.signatures["serving_default"](images=tf.constant(images[:count]))
        assert_same_outputs(outputs, {name: value[:count] for name, value in expected.items()})


def test_second_signature_moves_the_threshold(exported, images):
    loaded = tf.saved_model.load(str(exported.path))
    scored = loaded.signatures["with_threshold"]
    verdicts = [
        scored(images=tf.constant(images), threshold=tf.constant(threshold))["is_ood"].numpy()
        for threshold in (-np.inf, exported.detector.threshold, np.inf)
    ]
    assert not verdicts[0].any()
    np.testing.assert_array_equal(verdicts[1], exported.expected["is_ood"])
    assert verdicts[2].all()


@pytest.mark.slow
def test_free_image_size_stays_free(tmp_path):
    detector = ODINDetector(small_classifier((None, None, 3)))
    detector.export(tmp_path / "artifact", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "artifact"))
    signature = loaded.signatures["serving_default"]
    for shape in ((2, 9, 11, 3), (1, 30, 5, 3)):
        inputs = np.random.default_rng(0).uniform(size=shape).astype("float32")
        assert_same_outputs(
            signature(images=tf.constant(inputs)), detector.predict_on_batch(inputs)
        )


@pytest.mark.grid(3)
@pytest.mark.parametrize(
    ("name", "expected"), [("photo", "photo"), (None, "images"), ("threshold", "images")]
)
def test_input_is_named_after_a_name_that_a_person_chose(name, expected, tmp_path):
    detector = MSPDetector(small_classifier(name=name))
    detector.export(tmp_path / "artifact", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "artifact"))
    _, inputs = loaded.signatures["serving_default"].structured_input_signature
    assert list(inputs) == [expected]
    assert inputs[expected].dtype == tf.float32


def test_weights_are_in_the_artifact_once(tmp_path):
    classifier = keras.Sequential([keras.Input((100,)), keras.layers.Dense(1000)])
    ODINDetector(classifier).export(tmp_path / "artifact", verbose=False)
    size = sum(path.stat().st_size for path in (tmp_path / "artifact").rglob("*.*"))
    assert size < 4 * classifier.count_params() * 1.5


def test_metadata_lies_inside(exported):
    path = exported.path / "assets.extra" / "keras_lodin.json"
    metadata = json.loads(path.read_text())
    assert metadata["detector"] == "ODINDetector"
    assert metadata["temperature"] == 1000.0
    assert metadata["epsilon"] == 0.0014
    assert metadata["input_range"] == [0.0, 1.0]
    assert metadata["class_names"] == ["a", "b", "c", "d"]
    assert metadata["threshold"] == pytest.approx(exported.detector.threshold, rel=1e-7)
    assert metadata["calibrated"] is True
    assert metadata["input_shape"] == [None, 8, 8, 3]
    assert metadata["score_direction"] == "higher is more in-distribution"


def test_uncalibrated_detector_exports_with_a_note(images, tmp_path, capsys):
    MSPDetector(small_classifier()).export(tmp_path / "artifact")
    assert "no threshold" in capsys.readouterr().out
    loaded = tf.saved_model.load(str(tmp_path / "artifact"))
    outputs = loaded.signatures["serving_default"](images=tf.constant(images))
    assert not outputs["is_ood"].numpy().any()
    metadata = json.loads((tmp_path / "artifact/assets.extra/keras_lodin.json").read_text())
    assert metadata["threshold"] is None
    assert metadata["calibrated"] is False


def test_score_that_is_not_a_number_is_out_of_distribution(exported, images):
    images[3] = np.nan
    loaded = tf.saved_model.load(str(exported.path))
    outputs = loaded.signatures["serving_default"](images=tf.constant(images))
    assert np.isnan(outputs["score"].numpy()[3])
    assert outputs["is_ood"].numpy()[3]


@pytest.mark.slow
def test_exporting_again_replaces_the_artifact(exported, images, tmp_path):
    path = exported.copied(tmp_path)
    other = MSPDetector(small_classifier())
    other.threshold = 100.0
    other.export(path, verbose=False)
    loaded = tf.saved_model.load(str(path))
    outputs = loaded.signatures["serving_default"](images=tf.constant(images))
    assert outputs["is_ood"].numpy().all()
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_folder_with_other_things_in_it_is_not_replaced(detector, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="something else than a SavedModel"):
        detector.export(tmp_path, verbose=False)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_existing_file_is_not_replaced_by_a_folder(detector, tmp_path):
    (tmp_path / "artifact").write_text("a file")
    with pytest.raises(ValueError, match="there is a file of that name"):
        detector.export(tmp_path / "artifact", verbose=False)


def test_classifier_that_changes_by_itself_is_not_written(tmp_path):
    class Restless(keras.layers.Layer):
        def call(self, inputs):
            # Not a random operation: the global seed makes two graphs draw the same numbers.
            return inputs + tf.cast((tf.timestamp() * 1e5) % 1.0, "float32")

    inputs = keras.Input((8, 8, 3))
    outputs = Restless()(keras.layers.Dense(4)(keras.layers.Flatten()(inputs)))
    detector = MSPDetector(keras.Model(inputs, outputs))
    with pytest.raises(ValueError, match="other outputs for the same inputs"):
        detector.export(tmp_path / "artifact", verbose=False)
    assert not list(tmp_path.iterdir())


def test_classifier_whose_outputs_are_no_numbers_is_not_written(tmp_path):
    classifier = small_classifier()
    classifier.layers[-1].bias.assign(np.full(classifier.output_shape[-1], np.nan))
    with pytest.raises(ValueError, match=r"must be finite.*Received: logits with"):
        MSPDetector(classifier).export(tmp_path / "artifact", verbose=False)
    assert not (tmp_path / "artifact").exists()


def test_unknown_format_and_option_are_refused(detector, tmp_path):
    with pytest.raises(ValueError, match=r"tf_saved_model.*Received: format='pickle'"):
        detector.export(tmp_path / "artifact", format="pickle")
    with pytest.raises(ValueError, match="Received: colour"):
        export_detector(detector, tmp_path / "artifact", format="tf_saved_model", colour="blue")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".keras"])
def test_a_folder_does_not_take_the_name_of_a_file(suffix, classifier, tmp_path):
    with pytest.raises(ValueError, match=rf"ends in {suffix}.*Received: path="):
        MSPDetector(classifier).export(tmp_path / f"detector{suffix}")
    assert list(tmp_path.iterdir()) == []
