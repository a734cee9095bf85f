"""Tuning, evaluating, exporting and scoring model files."""

import csv
import json

import keras
import numpy as np
import pytest

import keras_lodin
from keras_lodin.detectors import DETECTORS
from keras_lodin.export import load_artifact
from keras_lodin.workflows import evaluate_models, export_model, score_images, train, tune_model
from tests import networks


@pytest.fixture
def pictures(tmp_path):
    """Real digits as PNG files: 0 to 6 in `in`, 9 in `out`."""
    for name, digits in (("in", "digits:0-6"), ("out", "digits:9")):
        source = keras_lodin.data.load(digits, part="test", input_range=(0, 255))
        (images, *_) = next(iter(source.batches(20)))
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            keras.utils.save_img(tmp_path / name / f"{number:02}.png", image, scale=False)
    return tmp_path


def test_tuned_detector_is_calibrated_and_names_its_classes(detector_file):
    detector = keras.models.load_model(detector_file)
    assert isinstance(detector, keras_lodin.ODINDetector)
    assert detector.calibrated
    assert detector.tpr == 0.95
    assert detector.class_names == tuple("0123456")
    calibration = keras_lodin.data.load("digits:0-6", part="calibration")
    assert detector.predict(calibration.batches(), verbose=0)["is_ood"].mean() <= 0.05


def test_other_detectors_are_calibrated_without_tuning(run, tmp_path):
    detector, tuning = tune_model(
        run, "digits:0-6", tmp_path / "energy.keras", detector="energy", tpr=0.9
    )
    assert tuning is None
    assert isinstance(detector, keras_lodin.EnergyDetector)
    assert keras.models.load_model(tmp_path / "energy.keras").threshold == detector.threshold


def test_evaluation_of_a_run_has_a_row_for_every_detector_and_set(run):
    evaluation = evaluate_models(
        [run], "digits:0-6", ["digits:7-9", "noise:uniform:200"], resamples=20
    )
    assert [(row["detector"], row["ood"]) for row in evaluation.rows] == [
        (detector, ood)
        for detector in ("msp", "max_logit", "energy", "odin", "mahalanobis", "vim")
        for ood in ("digits:7-9", "noise:uniform:200")
    ]
    assert evaluation.id["accuracy"] > 0.9
    assert all(row["auroc"] > 0.6 for row in evaluation.rows)


@pytest.mark.slow
def test_a_detector_file_is_evaluated_beside_its_run(run, detector_file):
    both = evaluate_models([run, detector_file], "digits:0-6", ["photos:100"])
    assert {row["model"] for row in both.rows} == {"run", "detector"}
    # A detector file is evaluated as it is, and beside it what it would be with ODIN's defaults.
    own = [row["detector"] for row in both.rows if row["model"] == "detector"]
    assert own == ["odin", "odin (defaults)"]


def test_artifact_and_keras_file_score_pictures_alike(artifact, detector_file, pictures, tmp_path):
    rows, skipped = score_images(artifact, [pictures / "in", pictures / "out"])
    again, _ = score_images(
        detector_file, [pictures / "in", pictures / "out"], output=tmp_path / "scores.csv"
    )
    assert len(rows) == 40
    assert not skipped
    for row, other in zip(rows, again, strict=True):
        assert row["score"] == pytest.approx(other["score"], rel=1e-4)
        assert row["class_name"] == other["class_name"]
    flagged = np.array([row["is_ood"] for row in rows])
    assert flagged[:20].mean() < 0.3 < flagged[20:].mean()
    with open(tmp_path / "scores.csv", newline="") as file:
        read = list(csv.DictReader(file))
    for name in ("score", "p_value"):
        assert [float(row[name]) for row in read] == [row[name] for row in again]
    assert {row["p_value"] <= 0.05 for row in again} == {True, False}


def test_unreadable_pictures_are_named_and_the_rest_is_scored(artifact, pictures):
    (pictures / "in" / "03.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    rows, skipped = score_images(artifact, [pictures / "in", pictures / "out" / "01.png"])
    assert len(rows) == 20
    ((path, reason),) = skipped
    assert path.endswith("03.png")
    assert reason
    assert [row["path"] for row in rows] == [
        *(str(pictures / "in" / f"{n:02}.png") for n in range(20) if n != 3),
        str(pictures / "out" / "01.png"),
    ]


def test_classifier_is_exported_uncalibrated_and_says_so(run, tmp_path, capsys):
    export_model(run, tmp_path / "artifact")
    printed = capsys.readouterr()
    assert "calibrat" in (printed.out + printed.err)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (lambda run, d: tune_model(run, "digits", d / "x.h5"), r"`\.keras` file"),
        (lambda run, d: tune_model(run, "digits", d / "x.keras", detector="odn"), "mean 'odin'"),
        (
            lambda run, d: tune_model(
                run, "digits:0-6", d / "x.keras", detector="msp", ood="noise:uniform"
            ),
            "no settings to choose",
        ),
        (lambda run, d: evaluate_models([run, run], "digits", ["photos"]), "each once"),
        (lambda run, d: evaluate_models([run], "digits", []), "one or more"),
        (lambda run, d: evaluate_models([run], "digits:7-9,0-6", ["photos"]), "not know '7'"),
        (
            lambda run, d: export_model(run, d / "a", format="tflight"),
            "format must be one of tf_saved_model, onnx, litert",
        ),
        (lambda run, d: export_model(d / "none.keras", d / "a"), "There is no model at that path"),
        (lambda run, d: score_images(run / "model.keras", [d]), "not a detector"),
        (lambda run, d: score_images(d / "none", [d]), "no artifact at that path"),
    ],
)
def test_mistakes_are_refused_with_what_was_received(job, message, run, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        job(run, tmp_path)
    assert "Received:" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_detectors_cannot_be_named_for_a_file_that_is_one(detector_file):
    with pytest.raises(ValueError, match="detector already"):
        evaluate_models([detector_file], "digits", ["photos"], detectors=["msp"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # barely trained
def test_a_network_with_exits_goes_all_the_way(tmp_path):
    networks.with_exits(exits=2).save(tmp_path / "network.keras")
    run = train(
        "digits:0-6",
        tmp_path / "network.keras",
        tmp_path / "run",
        epochs=2,
        loss_weights=(0.5, 2.0),
        verbose=0,
    )
    history = json.loads((run / "run.json").read_text())["history"][-1]
    losses = [history[f"exit{number}_logits_loss"] for number in (1, 2)]
    assert history["loss"] == pytest.approx(np.dot(losses, [0.5, 2.0]), rel=1e-3)

    evaluation = evaluate_models([run], "digits:0-6", ["noise:uniform:60"], resamples=10)
    usual = {name for name, kind in DETECTORS.items() if kind.in_every_evaluation}
    assert {row["detector"] for row in evaluation.rows} == usual
    assert set(evaluation.id["accuracy_by_model"]) == {"run", "run (early exits)"}

    detector, _ = tune_model(run, "digits:0-6", tmp_path / "mood.keras", detector="mood")
    assert detector.calibrated
    assert detector.class_names == tuple("0123456")
    assert len(detector.boundaries) == 1  # chosen by `adapt`: the published ones are for five exits

    export_model(run, tmp_path / "artifact", verbose=False)
    images = np.zeros((2, 8, 8, 1), "float32")
    last = keras_lodin.models.at_exit(keras_lodin.models.load(run))
    np.testing.assert_allclose(
        load_artifact(tmp_path / "artifact").score(images)["logits"],
        last.predict(images, verbose=0),
        atol=1e-5,
    )


@pytest.mark.slow
def test_fine_tuning_leaves_what_the_user_froze_inside_a_nested_network_frozen(tmp_path):
    inner = networks.convolutional(normalization=True)
    inner.layers[1].trainable = False
    inputs = keras.Input((8, 8, 1))
    keras.Model(inputs, inner(inputs)).save(tmp_path / "nested.keras")
    for freeze in (False, True):
        folder = tmp_path / f"run{freeze}"
        path = tmp_path / "nested.keras"
        train("digits:0-6", path, folder, epochs=1, freeze_batch_norm=freeze, verbose=0)
        trained = keras_lodin.models.load(folder).layers[-1]
        assert [layer.trainable for layer in trained.layers] == [
            layer.trainable for layer in inner.layers
        ]


def test_statistics_never_come_from_test_data(run):
    with pytest.raises(ValueError, match=r"is set aside for that.*Received: statistics=None"):
        evaluate_models([run], "dir:images", ["photos:20"], detectors=["mahalanobis"])


def test_a_detector_without_statistics_is_not_left_out_where_it_is_the_only_one(run, tmp_path):
    classifier = keras_lodin.models.load(run)
    keras_lodin.MahalanobisDetector(classifier).save(tmp_path / "detector.keras")
    with pytest.raises(ValueError, match=r"is set aside for that.*Received: statistics=None"):
        evaluate_models([tmp_path / "detector.keras"], "dir:images", ["photos:20"])


def test_an_input_range_that_runs_backwards_is_refused(detector_file, pictures):
    with pytest.raises(ValueError, match=r"`input_range` must be.*Received: .*\(1, 0\)"):
        score_images(detector_file, [pictures / "in"], input_range=(1, 0))
