"""Files of features stand for data, and the file of the last layer for the network."""

import keras
import numpy as np
import pytest

from keras_lodin.models import load
from keras_lodin.workflows import evaluate_models, tune_model, write_features


@pytest.fixture(scope="module")
def stored(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    for name, data, part in (
        ("train", "digits:0-6", "train"),
        ("calibration", "digits:0-6", "calibration"),
        ("id", "digits:0-6", "test"),
        ("near", "digits:7-9", "test"),
    ):
        head = folder / "head.keras" if name == "id" else None
        found = write_features(run, data, folder / f"{name}.npz", head=head, part=part, verbose=0)
        arrays = dict(np.load(folder / f"{name}.npz"))
        assert found == (*arrays["features"].shape, name != "near")
        # Of other classes than the network's: their labels would be taken for its own.
        assert ("labels" in arrays) == (name != "near")
    return folder


def test_evaluation_of_stored_features_is_that_of_the_images(run, stored):
    names = ["msp", "energy", "gen", "knn"]
    settings = {"detectors": names, "resamples": 2, "verbose": 0}
    expected = evaluate_models([run], "digits:0-6", groups={"near": ["digits:7-9"]}, **settings)
    found = evaluate_models(
        [stored / "head.keras"],
        f"npz:{stored}/id.npz",
        groups={"near": [f"npz:{stored}/near.npz"]},
        statistics=f"npz:{stored}/train.npz",
        **settings,
    )
    assert found.id["accuracy"] == expected.id["accuracy"] > 0.9
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert row["detector"] == other["detector"]
        assert row["auroc"] == pytest.approx(other["auroc"], abs=1e-3)


@pytest.mark.slow
def test_detectors_are_tuned_on_stored_features_and_saved(stored):
    detector, _ = tune_model(
        stored / "head.keras",
        f"npz:{stored}/calibration.npz",
        stored / "knn.keras",
        detector="knn",
        statistics=f"npz:{stored}/train.npz",
        verbose=0,
    )
    again = keras.models.load_model(stored / "knn.keras")
    features = np.load(stored / "id.npz")["features"]
    assert again.threshold == detector.threshold
    assert np.mean(again.predict(features, verbose=0)["is_ood"]) < 0.2
    assert load(stored / "head.keras").name.endswith("_head")


def test_files_that_are_read_or_have_other_names_are_refused(run, stored):
    with pytest.raises(ValueError, match=r"`output` is the name of a \.npz file.*Received"):
        write_features(run, "digits:0-6", stored / "id.csv")
    with pytest.raises(ValueError, match=r"`head` is the name of a \.keras file.*Received"):
        write_features(run, "digits:0-6", stored / "a.npz", head=stored / "head")
    with pytest.raises(ValueError, match="Received"):
        write_features(stored / "head.keras", f"npz:{stored}/id.npz", stored / "id.npz")
