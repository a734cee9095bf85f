"""From model files and names of data to the figure of gradient norms and its numbers."""

import csv
import json

import numpy as np
import pytest
from rich.console import Console

import keras_lodin
from keras_lodin import models
from keras_lodin.workflows import gradients
from tests import networks

OOD = ["digits:7-9", "noise:uniform:40"]


def refuse_constant(token):
    raise AssertionError(f"{token} is not JSON")


@pytest.fixture(scope="module")
def comparison(run, detector_file, tmp_path_factory):
    """Of a run and of a detector around the same classifier, with the folder of its files."""
    output = tmp_path_factory.mktemp("gradients")
    found = gradients([run, detector_file], "digits:0-6", OOD, output, command="x", verbose=0)
    return found, output


def test_files_hold_a_row_per_model_and_set_and_one_per_sample(comparison):
    found, output = comparison
    names = {path.name for path in output.iterdir()}
    assert names == {"gradients.csv", "gradients.json", "gradients.png"}
    text = (output / "gradients.json").read_text("utf-8")
    document = json.loads(text, parse_constant=refuse_constant)
    assert document["results"] == found.rows
    assert [(row["model"], row["data"], row["kind"]) for row in found.rows] == [
        (model, name, "id" if name == "digits:0-6" else "ood")
        for model in ("run", "detector")
        for name in ("digits:0-6", *OOD)
    ]
    assert {"settings", "definitions", "versions", "command", "id"} <= set(document)
    assert document["id"]["accuracy_by_model"]["run"] > 0.9

    with open(output / "gradients.csv", newline="") as file:
        samples = list(csv.DictReader(file))
    assert len(samples) == sum(row["count"] for row in found.rows)
    for sample in samples:
        ratio = 10 ** (float(sample["log10_label_norm"]) - float(sample["log10_other_norm"]))
        assert float(sample["quotient"]) == pytest.approx(ratio, rel=1e-4)


def test_a_detector_is_measured_by_its_classifier_and_a_run_by_its_model(comparison, run):
    found, _ = comparison
    for name in ("digits:0-6", *OOD):
        np.testing.assert_array_equal(
            found.distributions["run"][name].log10_label_norm,
            found.distributions["detector"][name].log10_label_norm,
        )
    source = keras_lodin.data.load("digits:0-6", part="test")
    inside = found.distributions["run"]["digits:0-6"]
    x = np.concatenate([x for x, _ in source.batches()])
    np.testing.assert_allclose(
        inside.quotient,
        keras_lodin.gradient_quotient(models.load(run), x, inside.predicted),
        rtol=1e-4,
    )


@pytest.mark.slow
def test_limit_draws_samples_from_all_of_a_set(run, comparison):
    limited = gradients([run], "digits:0-6", OOD, limit=60, verbose=0)
    everything, _ = comparison
    for name in ("digits:0-6", *OOD):
        few = limited.distributions["run"][name]
        all_norms = everything.distributions["run"][name].log10_label_norm
        assert len(few) == min(60, len(all_norms))
        assert np.all(np.min(np.abs(few.log10_label_norm[:, None] - all_norms), axis=1) < 1e-4)
    labels = limited.distributions["run"]["digits:0-6"].labels
    assert set(labels) == set(range(7))


def test_zero_gradients_are_counted_and_rank_below_all_others(tmp_path):
    classifier = networks.convolutional()
    classifier.layers[-1].kernel.assign(np.zeros(classifier.layers[-1].kernel.shape))
    classifier.save(tmp_path / "flat.keras")
    found = gradients(
        [tmp_path / "flat.keras"], "digits:0-6", ["photos:20"], tmp_path / "out", verbose=0
    )
    text = (tmp_path / "out" / "gradients.json").read_text("utf-8")
    inside, outside = json.loads(text, parse_constant=refuse_constant)["results"]
    assert inside["zero_label_gradients"] == inside["zero_other_gradients"] == inside["count"]
    assert outside["log10_label_norm"]["median"] is None
    assert outside["auroc"]["log10_label_norm"] == 0.5

    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(found.table())
    assert "all zero" in capture.get()


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (lambda run, d: gradients([run, run], "digits", ["photos"], d), "each once"),
        (lambda run, d: gradients([run], "digits", [], d), "one or more"),
        (lambda run, d: gradients([run], "digits", ["digits"], d), "must differ"),
        (lambda run, d: gradients([run], "digits:0-6", ["photos"], d, form="pooled"), "batch"),
        (lambda run, d: gradients([run], "digits:0-6", ["photos"], d, limit=0), "`limit`"),
        (lambda run, d: gradients([run], "digits", ["photos"], d), "does not know '7', '8', '9'"),
        (
            lambda run, d: gradients([d / "none.keras"], "digits", ["photos"], d),
            "There is no model at that path",
        ),
    ],
)
def test_mistakes_are_refused_with_what_was_received(job, message, run, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        job(run, tmp_path)
    assert "Received:" in str(error.value)
    assert not list(tmp_path.iterdir())
