"""Exports and exported files on every backend, with TensorFlow installed and without."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import keras_lodin
from keras_lodin.export import load_artifact, other_process
from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.other_process import export_by_tensorflow
from keras_lodin.utils.needed_packages import has_tensorflow
from tests.core import networks
from tests.core.own_layers import Scaled, bent

BACKEND = keras.backend.backend()
OLDER = Path(__file__).resolve().parents[1] / "fixtures" / "version_0_1_0"

with_tensorflow = pytest.mark.skipif(
    not has_tensorflow(), reason="needs TensorFlow, which is not installed here"
)
without_tensorflow = pytest.mark.skipif(has_tensorflow(), reason="TensorFlow is installed here")
with_onnxruntime = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")),
    reason="needs onnx and onnxruntime, which are not installed here",
)


def detector(*steps):
    """ODIN around a small network, calibrated."""
    inputs = keras.Input(networks.SHAPE)
    x = layers.Conv2D(networks.FILTERS, 3, activation="softplus")(inputs)
    for step in steps:
        x = step(x)
    x = layers.Dense(networks.CLASSES)(layers.Flatten()(x))
    made = keras_lodin.ODINDetector(
        networks.drawn(keras.Model(inputs, x)), input_range=(0, 1), epsilon=0.01
    )
    made.calibrate(networks.batch(40)[0], tpr=0.8, verbose=0)
    return made


def export(made, path, format, **options):
    """An export in another process, whatever the backend of this one."""
    export_by_tensorflow(made, path, format, verbose=True, options=options)


# --- Without TensorFlow ----------------------------------------------------------------------


@with_tensorflow
@pytest.mark.skipif(BACKEND == "tensorflow", reason="the backend is TensorFlow")
def test_the_package_is_imported_without_tensorflow():
    script = "import sys; import keras_lodin; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.slow_on("tensorflow")
@with_onnxruntime
@pytest.mark.parametrize("name", ["odin", "mahalanobis", "mood"])
def test_an_onnx_file_scores_as_the_detector_of_a_file_does(name):
    images = np.load(OLDER / "inputs.npz")["images"]
    expected = keras_lodin.models.load(OLDER / f"{name}.keras").predict(images, verbose=0)
    artifact = load_artifact(OLDER / f"{name}.onnx")
    found = artifact.score(images)
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4, atol=1e-4)
    assert artifact.threshold == pytest.approx(
        keras_lodin.models.load(OLDER / f"{name}.keras").threshold
    )


def test_names_of_formats_and_options_are_checked_before_anything_else(tmp_path):
    made = detector()
    with pytest.raises(ValueError, match="Did you mean 'onnx'"):
        made.export(tmp_path / "x", format="onxn")
    with pytest.raises(ValueError, match="takes the options data_format, sample_inputs"):
        made.export(tmp_path / "x.onnx", format="onnx", recorded=None)


@without_tensorflow
@pytest.mark.parametrize("format", keras_lodin.export.FORMATS)
def test_an_export_says_in_a_sentence_that_it_needs_tensorflow(format, tmp_path):
    with pytest.raises(ImportError, match=r"pip install tensorflow.* Received: backend='\w+'$"):
        detector().export(tmp_path / "artifact", format=format)
    assert not list(tmp_path.iterdir())


@without_tensorflow
def test_a_saved_model_says_in_a_sentence_that_it_needs_tensorflow():
    with pytest.raises(ImportError, match=r"^A SavedModel needs the package tensorflow, .*pip"):
        load_artifact(OLDER / "odin")


# --- By a process with TensorFlow ------------------------------------------------------------


@pytest.mark.slow_on("tensorflow")
@with_tensorflow
def test_a_process_with_tensorflow_exports_what_this_backend_computes(tmp_path, capsys):
    made = detector(Scaled(0.5), layers.Activation(bent))
    export(made, tmp_path / "artifact", "tf_saved_model")
    printed = capsys.readouterr().out
    assert printed.startswith(f"SavedModel of ODINDetector: {tmp_path / 'artifact'}")
    assert "80 % of fresh in-distribution data pass" in printed
    images, _ = networks.batch(7, seed=9)
    expected, found = made.predict(images, verbose=0), load_artifact(tmp_path / "artifact")
    assert found.metadata["threshold"] == pytest.approx(made.threshold)
    scored = found.score(images)
    np.testing.assert_allclose(scored["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scored["score"], expected["score"], rtol=1e-4, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


@with_tensorflow
@pytest.mark.slow
def test_the_report_of_an_onnx_file_has_what_this_backend_gave(tmp_path, capsys):
    images, _ = networks.batch(7, seed=9)
    export(detector(), tmp_path / "detector.onnx", "onnx", sample_inputs=images)
    report = json.loads((tmp_path / "detector.report.json").read_text())
    figures = [figures for figures in report["parity"] if figures.get("backend") == BACKEND]
    assert [one["batch"][0] for one in figures] == [1, 3, 7]
    assert all(one["gradient"] < 1e-3 for one in figures)
    assert f"batch 7 x 5 x 5 x 2, against {BACKEND}: logits" in capsys.readouterr().out


@with_tensorflow
@pytest.mark.slow
def test_a_detector_with_side_inputs_is_exported_by_another_process(tmp_path):
    made = keras_lodin.models.load(OLDER / "mood.keras")
    export(made, tmp_path / "mood.onnx", "onnx")
    images = np.load(OLDER / "inputs.npz")["images"]
    expected = made.predict(images, verbose=0)["score"]
    found = load_artifact(tmp_path / "mood.onnx").score(images)["score"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@with_tensorflow
@pytest.mark.slow
def test_errors_of_the_other_process_are_raised_here(tmp_path):
    with pytest.raises(ValueError, match=r"^An ONNX file's name must end in \.onnx"):
        export(detector(), tmp_path / "detector.bin", "onnx")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        export(detector(), tmp_path / "file" / "detector.onnx", "onnx")
    with pytest.raises(ValueError, match="format='tf_saved_model'") as raised:
        export(detector(layers.UpSampling2D()), tmp_path / "detector.tflite", "litert")
    assert isinstance(raised.value.__cause__, FormatLimitError)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@with_tensorflow
@pytest.mark.slow
def test_an_artifact_that_disagrees_with_this_backend_is_not_written(tmp_path, monkeypatch):
    record = other_process._recorded

    def wrong(*arguments):
        recorded = record(*arguments)
        for _, outputs in recorded.batches:
            outputs["logits"] = outputs["logits"] * 1.01
        return recorded

    monkeypatch.setattr(other_process, "_recorded", wrong)
    with pytest.raises(ValueError, match=r"disagrees .* Received: .*logits by 0\.0099"):
        export(detector(), tmp_path / "artifact", "tf_saved_model")
    assert not list(tmp_path.iterdir())


@with_tensorflow
@pytest.mark.slow
def test_a_module_that_the_other_process_lacks_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Scaled, "__module__", "nowhere_to_be_found")
    with pytest.raises(ValueError, match=r"ModuleNotFoundError: .*nowhere_to_be_found"):
        export(detector(Scaled()), tmp_path / "artifact", "tf_saved_model")


@with_tensorflow
@pytest.mark.parametrize(
    ("own", "step"), [(Scaled, Scaled), (bent, lambda: layers.Activation(bent))]
)
def test_what_a_script_defines_is_refused_before_a_process_starts(own, step, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "__module__", "__main__")
    monkeypatch.setattr(other_process, "_PROGRAM", "a program that cannot run")
    with pytest.raises(ValueError, match=rf"move them to a \.py .* Received: {own.__name__} of"):
        export(detector(step()), tmp_path / "artifact", "tf_saved_model")


@with_tensorflow
def test_a_process_that_ends_without_an_answer_is_an_error_of_one_sentence(tmp_path, monkeypatch):
    program = "import sys; sys.exit('out of memory')"
    monkeypatch.setattr(other_process, "_PROGRAM", program)
    with pytest.raises(ChildProcessError, match=r"Received: exit code 1, out of memory$"):
        export(detector(), tmp_path / "artifact", "tf_saved_model")


@with_tensorflow
def test_an_interrupt_ends_the_other_process(tmp_path, monkeypatch):
    started = []

    class Interrupted(subprocess.Popen):
        def communicate(self, *arguments, **options):
            started.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(other_process, "_PROGRAM", "import time; time.sleep(60)")
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(detector(), tmp_path / "artifact", "tf_saved_model")
    assert started[0].returncode is not None
