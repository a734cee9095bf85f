"""Every job says before its work what it cannot write, and keeps its folder to itself."""

import importlib
import os

import pytest

from keras_lodin.utils.folder_claim import claimed
from keras_lodin.workflows import (
    choose_detector,
    evaluate_models,
    export_model,
    gradients,
    quickstart,
    results_folder,
    run_recipe,
    score_images,
    sweep,
    train,
    tune_model,
)

OOD = ["noise:uniform:20"]

FOLDER_JOBS = {
    "train": lambda run, output: train("digits:0-6", "small_convnet", output, verbose=0),
    "gradients": lambda run, output: gradients([run], "digits:0-6", OOD, output),
    "sweep": lambda run, output: sweep("digits:0-6", "small_convnet", output, verbose=0),
    "quickstart": lambda run, output: quickstart(output),
    "evaluate": lambda run, output: results_folder(output, "digits:0-6", *OOD).__enter__(),
}
JOBS = {
    **FOLDER_JOBS,
    "recipe": lambda run, output: run_recipe("odin-resnet18", output, scale="digits"),
    "tune": lambda run, output: tune_model(run, "digits:0-6", f"{output}.keras"),
    "export tf_saved_model": lambda run, output: export_model(run, output),
    "export onnx": lambda run, output: export_model(run, f"{output}.onnx", format="onnx"),
    "export litert": lambda run, output: export_model(run, f"{output}.tflite", format="litert"),
    "score": lambda run, output: score_images(run, [run], output=f"{output}.csv"),
}


@pytest.fixture
def no_work(monkeypatch):
    """Nothing is trained, traced, read or measured: whoever begins to is too late."""

    def too_late(*arguments, **options):
        raise AssertionError("the work has begun")

    for place, name in (
        ("data", "load"),
        ("export.serving_function", "serving_function"),
        ("workflows.score", "load_artifact"),
        ("workflows.tune", "load_detector"),
        ("workflows.compare_gradients", "_load"),
        ("workflows.recipes.run", "train"),
    ):
        monkeypatch.setattr(importlib.import_module(f"keras_lodin.{place}"), name, too_late)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("job", "message"),
    [
        (lambda run, d: tune_model(run, "digits:0-6", d / "x.keras", tpr=1.5), "`tpr` must be"),
        (lambda run, d: tune_model(run, "digits:0-6", d / "x.keras", confidence=1), "`confidence`"),
        (lambda run, d: choose_detector(run, "digits:0-6", d, tpr=0), "`tpr` must be"),
        (lambda run, d: choose_detector(run, "digits:0-6", d, seed=-1), "`seed` must be"),
        (lambda run, d: choose_detector(run, "digits:0-6", d, detectors=["odn"]), "mean 'odin'"),
        (lambda run, d: evaluate_models([run], "digits:0-6", OOD, resamples=0), "`resamples` must"),
        (lambda run, d: evaluate_models([run, d / "none.keras"], "digits", OOD), "no model at"),
        (lambda run, d: gradients([run, d / "none.keras"], "digits", OOD), "no model at"),
    ],
)
def test_what_the_end_of_the_work_needs_is_looked_at_before_it(job, message, run, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        job(run, tmp_path)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("place", ["file/below", "n" * 300, "new/" + "n" * 300])
@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_what_cannot_be_written_is_said_before_the_work(job, place, run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Expected a folder|too long"):
        job(run, tmp_path / place)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("job", FOLDER_JOBS.values(), ids=FOLDER_JOBS)
def test_a_second_run_in_a_folder_is_refused_and_the_first_goes_on(job, run, tmp_path):
    import threading

    refusals = []

    def second():
        try:
            job(run, tmp_path / "output")
        except ValueError as error:
            refusals.append(str(error))

    with claimed(tmp_path / "output"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refusals) == 1
    assert f"Another run is at work in the folder: process {os.getpid()}" in refusals[0]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("job", ["train", "gradients", "sweep", "evaluate"])
def test_results_in_the_folder_of_the_data_are_refused(job, run, tmp_path):
    folder = f"dir:{tmp_path}/data"
    (tmp_path / "data").mkdir()
    jobs = {
        "train": lambda output: train(folder, "small_convnet", output),
        "gradients": lambda output: gradients([run], "digits:0-6", [folder], output),
        "sweep": lambda output: sweep("digits:0-6", "small_convnet", output, ood=[folder]),
        "evaluate": lambda output: results_folder(output, "digits:0-6", folder).__enter__(),
    }
    for output in (tmp_path / "data", tmp_path / "data" / "results"):
        with pytest.raises(ValueError, match=r"also an input.*Received: output="):
            jobs[job](output)
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.parametrize("name", ["model.keras", "../run/model.keras", "link.keras"])
def test_a_detector_does_not_replace_the_model_it_is_tuned_from(run, name, tmp_path):
    before = (run / "model.keras").read_bytes()
    output = run / name
    if name == "link.keras":
        output = tmp_path / name
        output.symlink_to(run / "model.keras")
    for path in (run, run / "model.keras"):
        with pytest.raises(ValueError, match="also an input"):
            tune_model(path, "digits:0-6", output)
    assert (run / "model.keras").read_bytes() == before
