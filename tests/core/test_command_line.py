"""The command line on every backend, from a model file to scores."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_digits

from keras_lodin.utils.needed_packages import has_tensorflow
from keras_lodin_cli.main import main


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier of the digits 0 to 6 by their means, its detector, and a picture."""
    folder = tmp_path_factory.mktemp("command_line")
    digits, labels = load_digits(return_X_y=True)
    means = np.stack([digits[labels == label].mean(axis=0) / 16.0 for label in range(7)])
    inputs = keras.Input((8, 8, 1))
    classifier = keras.Model(inputs, keras.layers.Dense(7)(keras.layers.Flatten()(inputs)))
    classifier.set_weights([means.T, -0.5 * np.sum(means**2, axis=1)])
    classifier.save(folder / "classifier.keras")
    pixels = np.arange(64, dtype="uint8").reshape(8, 8)
    Image.fromarray(pixels).save(folder / "picture.png")
    command = ("tune", folder / "classifier.keras", "--detector", "energy", "--id", "digits:0-6")
    tuned = run(*command, "--input-range", 0, 1, "--output", folder / "detector.keras")
    assert tuned.exit_code == 0, tuned.output
    assert "95 % of fresh in-distribution data pass" in tuned.output
    return folder


@pytest.mark.slow_on("tensorflow")
def test_models_are_evaluated(folder):
    command = ("evaluate", folder / "detector.keras", "--id", "digits:0-6", "--ood", "digits:7-9")
    done = run(*command, "--resamples", 10, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert {"keras", keras.backend.backend()} <= set(document["versions"])
    assert all(0.0 < row["auroc"] < 1.0 for row in document["results"])


@pytest.mark.slow_on("tensorflow")
def test_features_are_stored_and_evaluated_in_groups(folder):
    for name, data in (("id", "digits:0-6"), ("near", "digits:7-9")):
        done = run(
            *("features", folder / "classifier.keras", "--input-range", 0, 1, "--data", data),
            *("--output", folder / f"{name}.npz", "--head", folder / "head.keras"),
        )
        assert done.exit_code == 0, done.output
    found = {}
    for model, id, near in (
        ("classifier", "digits:0-6", "digits:7-9"),
        ("head", f"npz:{folder}/id.npz", f"npz:{folder}/near.npz"),
    ):
        done = run(
            *("evaluate", folder / f"{model}.keras", "--detector", "energy", "--id", id),
            *("--near", near, "--resamples", 2, "--json"),
            *(("--input-range", 0, 1) if model == "classifier" else ()),
        )
        assert done.exit_code == 0, done.output
        (row,) = json.loads(done.stdout)["results"]
        assert row["group"] == "near"
        found[model] = row["auroc"], row["id_accuracy"]
    assert found["head"] == pytest.approx(found["classifier"], abs=1e-3)


def test_images_are_scored(folder):
    done = run("score", folder / "detector.keras", folder / "picture.png", "--json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["images"]
    assert row["path"] == str(folder / "picture.png")
    assert np.isfinite(row["score"])


@pytest.mark.skipif(has_tensorflow(), reason="TensorFlow is installed here")
def test_an_export_without_tensorflow_ends_with_one_sentence_and_code_2(folder, tmp_path):
    done = run("export", folder / "detector.keras", "--output", tmp_path / "artifact")
    assert done.exit_code == 2
    assert "TensorFlow is not installed here" in " ".join(done.output.split())
    assert "Traceback" not in done.output


@pytest.mark.parametrize("backend", ["nonsense", "jax"])
def test_a_backend_that_is_not_there_is_said_in_a_sentence(backend, folder):
    command = ["score", str(folder / "detector.keras"), str(folder / "picture.png")]
    hidden = f"sys.modules[{backend!r}] = None"
    script = f"import sys; {hidden}; from keras_lodin_cli.main import main; main({command!r})"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert f"Received: KERAS_BACKEND='{backend}'" in said
    assert "Traceback" not in said
