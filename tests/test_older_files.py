"""What earlier versions wrote still loads and says the same; `fixtures/*.py` say what it is."""

import csv
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from packaging.version import Version

import keras_lodin
from keras_lodin import metrics, workflows
from keras_lodin.evaluation.page import evaluation_page
from keras_lodin.evaluation.table import ResultsTable
from keras_lodin.export import load_artifact, seal

FIXTURES = Path(__file__).parent / "fixtures"
FOLDER = FIXTURES / "version_0_1_0"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
SCORES = EXPECTED["scores"]
GIVEN = dict(np.load(FOLDER / "inputs.npz"))
DETECTORS = [name for name in SCORES if name.endswith(".keras")]
EXPORTS = [name for name in SCORES if name not in DETECTORS]

VERSIONS = json.loads((FOLDER / "run" / "run.json").read_text())["versions"]
reads_keras_files = pytest.mark.skipif(
    Version(keras.__version__) < Version(VERSIONS["keras"]),
    reason=f"written by Keras {VERSIONS['keras']}, and Keras reads no files of later versions",
)

# What makes a detector this one and no other, in the words of its class.
SETTINGS = {
    "msp": {"class_names": ("nought", "one", "two"), "input_range_origin": "given"},
    "max_logit": {"input_range_origin": "classifier", "from_logits": False, "calibrated": False},
    "energy": {"temperature": 2.5},
    "odin": {"temperature": 5.0, "epsilon": 0.004, "channel_std": (0.5,), "tuned": False},
    "odin_vectors": {"temperature": 2.0, "epsilon": 0.0, "tuned": True},
    "mahalanobis": {
        "feature_names": ("relu", "features"),
        "layer_weights": (1.0, 0.5),
        "epsilon": 0.002,
        "shrinkage": 0.1,
    },
    "mood": {"boundaries": (80.0, 102.0), "temperature": 2.0, "num_exits": 3},
}
CALIBRATED = {"calibrated": True, "tpr": 0.9, "calibration_count": 60}


def check_scores(outputs, name):
    expected = SCORES[name]
    scores = np.array(expected["score"])
    assert outputs["score"] == pytest.approx(scores, rel=1e-5, abs=1e-5 * np.abs(scores).max())
    assert outputs["logits"].argmax(axis=-1).tolist() == expected["class"]
    assert outputs["is_ood"].tolist() == expected["is_ood"]


@reads_keras_files
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_the_one_that_was_saved(name):
    detector = keras.models.load_model(FOLDER / name)
    assert type(detector) is getattr(keras_lodin, SCORES[name]["detector"])
    settings = CALIBRATED | SETTINGS[Path(name).stem]
    if not settings["calibrated"]:
        settings |= {"tpr": None, "calibration_count": None}
    assert {key: getattr(detector, key) for key in settings} == settings
    assert np.array(detector.input_range).tolist() == SCORES[name]["input_range"]
    outputs = detector.predict_on_batch(GIVEN[SCORES[name]["inputs"]])
    check_scores(outputs, name)
    # The calibration scores are not in the file, and without them nothing is rare.
    assert (detector.p_value_count, detector.confidence) == (None, None)
    np.testing.assert_array_equal(outputs["p_value"], 1.0)


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_scores_as_it_did(name):
    artifact, expected = load_artifact(FOLDER / name), SCORES[name]
    assert artifact.metadata["detector"] == expected["detector"]
    assert artifact.threshold == expected["threshold"]
    assert np.array(artifact.input_range).tolist() == expected["input_range"]
    assert artifact.class_names == (expected["class_names"] and tuple(expected["class_names"]))
    outputs = artifact.score(GIVEN[expected["inputs"]])
    assert "p_value" not in outputs
    check_scores(outputs, name)


def test_an_export_from_before_p_values_is_listed_without_them(tmp_path):
    for number, picture in enumerate(GIVEN["images"][:2]):
        keras.utils.save_img(tmp_path / f"{number}.png", picture)
    output = tmp_path / "scores.csv"
    rows, _ = workflows.score_images(FOLDER / "odin.onnx", [tmp_path], output=output, verbose=0)
    assert [row["p_value"] for row in rows] == [None, None]
    with open(output, newline="") as file:
        assert [row["p_value"] for row in csv.DictReader(file)] == ["", ""]


def test_an_export_from_before_p_values_can_be_sealed(tmp_path):
    shutil.copy(FOLDER / "odin.onnx", tmp_path / "odin.onnx")
    seal(tmp_path / "odin.onnx")
    artifact = load_artifact(tmp_path / "odin.onnx")
    check_scores(artifact.score(GIVEN["images"]), "odin.onnx")


@reads_keras_files
def test_a_model_that_holds_a_detector_has_the_outputs_that_it_had():
    """Its file knows them by numbers, from before there was a fourth."""
    expected = np.load(FIXTURES / "three_outputs" / "composed.npz")
    model = keras.models.load_model(FIXTURES / "three_outputs" / "composed.keras")
    (detector,) = (one for one in model.layers if isinstance(one, keras_lodin.Detector))
    assert detector.threshold == expected["threshold"]
    assert detector.p_value_count is None
    found = model.predict(expected["vectors"], verbose=0)
    np.testing.assert_array_equal(found["verdict"], expected["verdict"])
    for name in ("score", "logits"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["odin.onnx", "mahalanobis.onnx"])
def test_an_onnx_file_scores_as_it_did_without_this_package(name):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # of the threshold, an input with a default
    session = onnxruntime.InferenceSession(FOLDER / name, options)
    outputs = ["logits", "score", "is_ood"]
    found = session.run(outputs, {"images": GIVEN["images"]})
    check_scores(dict(zip(outputs, found, strict=True)), name)


@pytest.mark.grid(3)
@reads_keras_files
@pytest.mark.parametrize("name", EXPECTED["training"])
def test_a_model_for_training_goes_on_with_the_settings_that_it_had(name):
    """Its log depends on every one of them, the optimizer's state and what an estimator draws."""
    model = keras.models.load_model(FOLDER / name)
    images, labels = GIVEN["images"], GIVEN["labels"]
    history = model.fit(images, labels, batch_size=16, shuffle=False, verbose=0).history
    log = {name: values[0] for name, values in history.items()}
    assert log == pytest.approx(EXPECTED["training"][name], rel=1e-4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy to work in; the settings of its runs name files from there."""
    shutil.copytree(FOLDER, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def train(output):
    return workflows.train(
        "digits:0-2",
        "classifier.keras",
        output,
        gq_weight=0.1,
        form="logits",
        estimator="sampled",
        samples=2,
        epochs=2,
        batch_size=32,
        verbose=0,
    )


def test_a_finished_run_is_not_trained_again(folder):
    before = {path.name: path.read_bytes() for path in (folder / "run").iterdir()}
    train("run")
    assert {path.name: path.read_bytes() for path in (folder / "run").iterdir()} == before


@pytest.mark.slow
@reads_keras_files
def test_an_interrupted_run_ends_as_the_one_that_was_not(folder):
    train("interrupted")
    ended, whole = (
        json.loads((folder / name / "run.json").read_text()) for name in ("interrupted", "run")
    )
    assert ended["complete"]
    for epoch, expected in zip(ended["history"], whole["history"], strict=True):
        assert epoch == pytest.approx(expected, rel=1e-4)
    ended, whole = (
        keras_lodin.models.load(folder / name).get_weights() for name in ("interrupted", "run")
    )
    for weights, expected in zip(ended, whole, strict=True):
        np.testing.assert_allclose(weights, expected, rtol=1e-3, atol=1e-4)


@reads_keras_files
def test_a_run_is_evaluated_as_it_was(folder):
    rows = workflows.evaluate_models(
        ["run"],
        "digits:0-2",
        ["digits:7-9", "noise:uniform:40"],
        detectors=["energy"],
        resamples=100,
        verbose=0,
    ).rows
    before = json.loads((folder / "evaluation" / "results.json").read_text())["results"]
    before = [row for row in before if row["detector"] == "energy"]
    names = ("model", "ood", "count")
    assert [[row[name] for name in names] for row in rows] == [
        [row[name] for name in names] for row in before
    ]
    for row, expected in zip(rows, before, strict=True):
        # One pair of scores that rounding decides is a ten-thousandth.
        assert row["auroc"] == pytest.approx(expected["auroc"], abs=1e-3)
        assert row["id_accuracy"] == pytest.approx(expected["id_accuracy"])


def test_saved_scores_give_the_saved_figures():
    results = json.loads((FOLDER / "evaluation" / "results.json").read_text())
    scores = np.load(FOLDER / "evaluation" / "scores.npz")
    for row in results["results"]:
        of_id, of_ood = (
            scores[f"{row['detector']}/{name}"] for name in (results["id"]["name"], row["ood"])
        )
        assert metrics.auroc(of_id, of_ood) == pytest.approx(row["auroc"])
        assert metrics.fpr_at_tpr(of_id, of_ood, 0.95) == pytest.approx(row["fpr95"])


def test_saved_results_are_shown_as_tables_and_as_a_page():
    """They know neither groups nor shifted data, no passes and no confidence."""
    results = json.loads((FOLDER / "evaluation" / "results.json").read_text())
    table = str(ResultsTable(results))
    assert "OOD: digits:7-9, 107 samples" in table
    assert "Mean of the 2 OOD sets" in table
    scores = {}
    with np.load(FOLDER / "evaluation" / "scores.npz") as arrays:
        for key, values in arrays.items():
            detector, _, name = key.partition("/")
            scores.setdefault(detector, {})[name] = values
    page = evaluation_page(results, scores, {}, {})
    assert "Out-of-distribution detection on digits:0-2" in page
    assert "full spectrum" not in page
    assert "asses" not in table + page.replace("passes on average", "")


@reads_keras_files
def test_a_sweep_goes_on(folder):
    """Of one training the figures are gone, of the others the networks: each is used as it is."""
    (folder / "sweep" / "runs" / "1-epochs" / "label_smoothing_0.1" / "seed1.json").unlink()
    found = keras_lodin.sweep(
        "digits:0-2",
        "classifier.keras",
        "sweep",
        candidates=[keras_lodin.Candidate.parse("label_smoothing:0.1")],
        detector="max_logit",
        budget=10.0,
        seeds=2,
        epochs=1,
        batch_size=32,
        count=30,
        report=lambda line: None,
    )
    assert found.choice.name == EXPECTED["sweep"]["recommendation"]
    for row, expected in zip(found.rows, EXPECTED["sweep"]["rows"], strict=True):
        assert row.pop("auroc") == pytest.approx(expected["auroc"], abs=1e-3)
        assert row == pytest.approx({k: expected[k] for k in row}, abs=1e-3)


def test_a_recipe_that_has_run_is_read(folder):
    """Its network is gone: nothing can be measured again."""
    before = json.loads((folder / "recipes" / "odin-resnet18.json").read_text())
    summary = workflows.run_recipe(
        "odin-resnet18",
        "recipes",
        scale="digits",
        resamples=100,
        report=lambda line: None,
        verbose=0,
    )
    assert summary == before
