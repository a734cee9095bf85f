import json

import keras
import numpy as np
import pytest

from keras_lodin.detectors import Detector, MahalanobisDetector, MSPDetector, ODINDetector
from keras_lodin.export import load_artifact
from keras_lodin.export.metadata import artifact_metadata
from tests.export.networks import small_classifier


def write(detector, path):
    if path.suffix == ".keras":
        detector.save(path)
    else:
        kind = "onnx" if path.suffix == ".onnx" else "tf_saved_model"
        detector.export(path, format=kind, verbose=False)


@pytest.mark.grid(3)
@pytest.mark.parametrize("name", ["artifact", "detector.keras", "detector.onnx"])
def test_artifact_scores_like_its_detector(name, detector, images, tmp_path):
    write(detector, tmp_path / name)
    artifact = load_artifact(tmp_path / name)
    outputs = artifact.score(images)
    expected = detector.predict(images, verbose=0)
    assert {key: value.dtype.name for key, value in outputs.items()} == {
        "logits": "float32",
        "score": "float32",
        "is_ood": "bool",
        "p_value": "float32",
    }
    np.testing.assert_allclose(outputs["logits"], expected["logits"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["score"], expected["score"], rtol=1e-5)
    np.testing.assert_array_equal(outputs["is_ood"], expected["is_ood"])
    # Of its own scores: these inputs may be the calibration's, which a rounding error moves across.
    exact = keras.ops.convert_to_numpy(detector.p_value(outputs["score"]))
    np.testing.assert_allclose(outputs["p_value"], exact, rtol=1e-6)


@pytest.mark.grid(3)
@pytest.mark.parametrize("name", ["artifact", "detector.keras", "detector.onnx"])
def test_artifact_knows_what_it_is(name, detector, tmp_path):
    write(detector, tmp_path / name)
    artifact = load_artifact(tmp_path / name)
    assert artifact.input_shape == (None, 8, 8, 3)
    assert artifact.input_range == (0.0, 1.0)
    assert artifact.class_names == ("a", "b", "c", "d")
    assert artifact.threshold == detector.threshold
    assert artifact.metadata["detector"] == "ODINDetector"
    assert "ODINDetector" in repr(artifact)


def test_artifact_without_threshold_calls_nothing_out_of_distribution(images, tmp_path):
    write(MSPDetector(small_classifier()), tmp_path / "artifact")
    artifact = load_artifact(tmp_path / "artifact")
    assert artifact.threshold == -np.inf
    assert artifact.input_range == (0.0, 1.0)  # judged by the classifier
    assert artifact.class_names is None
    assert not artifact.score(images)["is_ood"].any()


class RankDetector(Detector):
    """With settings that JSON has no words for."""

    rank = np.int64(2)

    def score(self, forward_pass):
        return forward_pass.logits[:, self.rank]

    def get_config(self):
        own = {
            "rank": self.rank,
            "shifts": np.array([0.5, np.inf]),
            "rule": self.dtype_policy,
            "kinds": {2},
        }
        return {**super().get_config(), **own}


class Unserializable(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(keras.ops.reshape(inputs, (-1, 192)))


def test_metadata_hold_the_whole_configuration(images):
    classifier = small_classifier()
    odin = artifact_metadata(ODINDetector(classifier, channel_std=[0.5, 1.0, 2.0]))
    assert odin["configuration"]["channel_std"] == odin["channel_std"] == [0.5, 1.0, 2.0]
    layer = classifier.layers[-2].name
    found = artifact_metadata(MahalanobisDetector(classifier, layers=[layer], shrinkage=0.1))
    assert found["configuration_version"] == 1
    assert found["configuration"]["layers"] == [layer]
    assert found["configuration"]["shrinkage"] == 0.1
    assert "classifier" not in found["configuration"]


def test_configuration_of_any_detector_is_json(images):
    # Keras makes no configuration of this classifier, and none is needed.
    classifier = Unserializable(keras.layers.Dense(4))
    classifier(images)
    found = artifact_metadata(RankDetector(classifier))["configuration"]
    assert found["rank"] == 2
    assert found["shifts"] == [0.5, None]
    assert found["rule"]["config"] == {"name": "float32"}
    assert found["kinds"] == "{2}"
    json.dumps(found, allow_nan=False)


def test_integer_pixels_are_taken(detector, images, tmp_path):
    write(detector, tmp_path / "artifact")
    artifact = load_artifact(tmp_path / "artifact")
    pixels = (images * 255).astype("uint8")
    np.testing.assert_array_equal(
        artifact.score(pixels)["score"], artifact.score(pixels.astype("float32"))["score"]
    )


def test_batch_of_another_shape_is_refused(detector, tmp_path):
    write(detector, tmp_path / "artifact")
    artifact = load_artifact(tmp_path / "artifact")
    with pytest.raises(ValueError, match=r"\(batch, 8, 8, 3\).*of shape \(2, 8, 8, 1\)"):
        artifact.score(np.zeros((2, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"batch axis is missing.*of shape \(8, 8, 3\)"):
        artifact.score(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match=r"`keras-lodin score`. Received: 'photo\.png'"):
        artifact.score("photo.png")


def test_missing_path_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Received: path=.*nothing\.onnx"):
        load_artifact(tmp_path / "nothing.onnx")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "notes.txt",
            r"An artifact is a SavedModel folder, or an \.onnx, \.tflite or \.keras file",
        ),
        ("broken.onnx", "onnxruntime cannot run the artifact"),
        ("broken.keras", "no `.keras` archive"),
    ],
)
def test_file_that_is_no_artifact_is_refused(name, message, tmp_path):
    (tmp_path / name).write_text("not a model")
    with pytest.raises(ValueError, match=message):
        load_artifact(tmp_path / name)


def test_folder_that_is_no_saved_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="The folder is not a SavedModel"):
        load_artifact(tmp_path)


def test_saved_model_of_a_bare_classifier_is_refused(tmp_path):
    small_classifier().export(tmp_path / "classifier", verbose=False)
    with pytest.raises(ValueError, match="not written by keras-lodin"):
        load_artifact(tmp_path / "classifier")


def test_keras_file_of_a_bare_classifier_is_refused(tmp_path):
    small_classifier().save(tmp_path / "classifier.keras")
    with pytest.raises(ValueError, match="a model that is not a detector"):
        load_artifact(tmp_path / "classifier.keras")
    assert isinstance(keras.models.load_model(tmp_path / "classifier.keras"), keras.Model)
