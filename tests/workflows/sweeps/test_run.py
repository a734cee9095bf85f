"""A sweep: resumable, within its budget, and honest about what it did not find."""

import csv
import html
import json
import shlex
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import keras_lodin
from keras_lodin import Candidate
from keras_lodin.workflows.sweeps.run import CANDIDATES, usual_candidates
from keras_lodin_cli.main import main

SWEEP = {
    "id": "digits:0-2",
    "model": "perceptron",
    "epochs": 3,
    "seeds": 2,
    "count": 40,
    "candidates": [
        Candidate.parse(name)
        for name in ("gq logits projected -1", "gq logits sampled 1", "label_smoothing:0.1")
    ],
}
module = sys.modules["keras_lodin.workflows.sweeps.run"]


# One rung of one candidate.
SHORT = {**SWEEP, "candidates": SWEEP["candidates"][:1], "epochs": 1}


def quiet(line):
    pass


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A short sweep's folder, and what it reported."""
    folder, lines = tmp_path_factory.mktemp("short") / "sweep", []
    keras_lodin.sweep(output=folder, report=lines.append, **SHORT)
    return folder, lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep's folder."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    keras_lodin.sweep(output=folder, report=quiet, **SWEEP)
    return folder


def check_report(folder, count):
    summary = json.loads((folder / "sweep.json").read_text())
    report = html.unescape((folder / "report.html").read_text())
    assert summary["reason"] in report.split(">Recommendation</h2>")[1]
    with open(folder / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(summary["rows"]) == count
    means = [np.mean([float(row[n]) for n in row if ":" in n or n == "scrambled"]) for row in rows]
    np.testing.assert_allclose(means, [float(row["separation"]) for row in rows])
    return summary


def test_the_sweep_leaves_a_report_that_ends_in_a_recommendation(short):
    summary = check_report(short[0], 4)
    assert summary["recommendation"] in {"off", SHORT["candidates"][0].name}


@pytest.mark.slow
def test_a_sweep_of_several_rungs_leaves_one_too(whole):
    summary = check_report(whole, 4 + 2 * 3)
    assert summary["recommendation"] in {"off", *(c.name for c in SWEEP["candidates"])}


def test_of_a_rung_the_best_go_on_to_every_seed_beside_plain_training(tmp_path, monkeypatch):
    worst, better, best = (candidate.name for candidate in SWEEP["candidates"])
    auroc = {"off": 0.8, worst: 0.7, better: 0.85, best: 0.9}

    def figures(runner, candidate, seed, epochs):
        found = auroc[candidate.name] + 1e-3 * seed
        return {"id_accuracy": 0.9, "auroc": {"odin": {"noise:uniform:40": found}}}

    monkeypatch.setattr(module._Runner, "_figures", figures)
    lines = []
    found = keras_lodin.sweep(output=tmp_path / "sweep", report=lines.append, **SWEEP)
    assert lines[0].startswith("Plan: 3 candidates for 1 epochs; 2 candidates for 3 epochs with 2")
    assert lines[1] == "Rung 1 of 2, training 1 of 4: off, 1 epochs, seed 0"
    assert f"Rung 1: {best}, {better} goes on." in lines
    summary = check_report(tmp_path / "sweep", 4 + 2 * 3)
    rows = [(row["rung"], row["epochs"], row["candidate"], row["seed"]) for row in summary["rows"]]
    assert rows == [
        *((1, 1, name, 0) for name in ("off", worst, better, best)),
        *((2, 3, name, seed) for seed in (0, 1) for name in ("off", best, better)),
    ]
    assert found.choice.name == summary["recommendation"] == best


def test_a_sweep_that_is_complete_trains_nothing_again(short, monkeypatch):
    folder, _ = short
    monkeypatch.setattr(module, "train", None)
    before = json.loads((folder / "sweep.json").read_text())
    again = keras_lodin.sweep(output=folder, report=quiet, **SHORT)
    assert again.rows == before["rows"]
    assert again.choice.name == before["recommendation"]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "trainings"), [(SHORT, 4), (SWEEP, 10)])
def test_a_sweep_that_was_killed_goes_on_to_the_same_end(
    settings, trainings, request, tmp_path, monkeypatch
):
    short = settings is SHORT
    folder = request.getfixturevalue("short")[0] if short else request.getfixturevalue("whole")
    original, calls = module.train, []

    def dies(*arguments, **options):
        calls.append(options)
        if len(calls) == trainings // 2 + 1:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(module, "train", dies)
    with pytest.raises(KeyboardInterrupt):
        keras_lodin.sweep(output=tmp_path / "sweep", report=quiet, **settings)
    assert not (tmp_path / "sweep" / "sweep.json").exists()
    keras_lodin.sweep(output=tmp_path / "sweep", report=quiet, **settings)
    assert len(calls) == trainings + 1
    finished, resumed = (
        json.loads((path / "sweep.json").read_text()) for path in (folder, tmp_path / "sweep")
    )
    assert resumed["recommendation"] == finished["recommendation"]
    for ours, theirs in zip(resumed["rows"], finished["rows"], strict=True):
        assert ours["candidate"] == theirs["candidate"]
        assert ours["separation"] == pytest.approx(theirs["separation"], abs=0.02)


def test_a_folder_with_another_sweep_is_refused(short, tmp_path):
    with pytest.raises(ValueError, match=r"a sweep with other settings.*seeds was 2 and is 3"):
        keras_lodin.sweep(output=short[0], report=quiet, **{**SHORT, "seeds": 3})
    (tmp_path / "letter").write_text("mine")
    with pytest.raises(ValueError, match="new or empty folder"):
        keras_lodin.sweep(output=tmp_path, report=quiet, **SWEEP)


@pytest.mark.slow
def test_a_candidate_that_diverges_is_out_and_named(tmp_path):
    lines = []
    found = keras_lodin.sweep(
        output=tmp_path / "sweep",
        report=lines.append,
        **{**SHORT, "candidates": [Candidate(gq_weight=1e30, form="logits")], "budget": 100.0},
    )
    assert found.choice == Candidate()
    assert "Diverged, and out: gq logits exact 1e+30" in found.report
    assert "leave GQ off" in found.report


def test_progress_says_which_training_of_how_many(short):
    _, lines = short
    assert lines[0].startswith("Plan: 1 candidates for 1 epochs with 2 seeds")
    assert lines[1] == "Rung 1 of 1, training 1 of 4: off, 1 epochs, seed 0"


def test_the_recommended_command_is_one_that_train_takes():
    settings = {
        "id": "digits:0-6",
        "model": "small_convnet",
        "epochs": 3,
        "batch_size": 64,
        "learning_rate": 0.1,
        "weight_decay": 0.0005,
        "augment": None,
        "freeze_batch_norm": True,
    }
    from keras_lodin.workflows.sweeps.page import _train_command

    for choice in (
        Candidate(gq_weight=-1.0, form="logits", estimator="projected"),
        Candidate(gq_weight=0.5, temperature=1000.0, samples=2, estimator="sampled"),
        Candidate(loss="label_smoothing:0.1"),
        Candidate(gradient_penalty=0.1),
    ):
        words = shlex.split(_train_command(settings, choice))
        assert words[:2] == ["keras-lodin", "train"]
        context = main.commands["train"].make_context("train", words[2:])
        weights = context.params.pop("gq_weights")
        assert weights == ((choice.gq_weight,) if choice.gq_weight else ())
        for name, value in choice.settings.items():
            if name != "gq_weight":
                assert context.params[name] == value
        assert context.params["freeze_batch_norm"] is True


def test_the_usual_candidates_are_of_both_signs_several_forms_and_estimators():
    gq = [candidate for candidate in CANDIDATES if candidate.gq_weight]
    assert {candidate.gq_weight > 0 for candidate in gq} == {True, False}
    assert len({candidate.form for candidate in gq}) > 2
    assert len({candidate.estimator for candidate in gq}) > 1
    assert len({candidate.name for candidate in CANDIDATES}) == len(CANDIDATES)
    assert usual_candidates(10) == list(CANDIDATES)
    assert all(candidate.cost(1000) < 20 for candidate in usual_candidates(1000))
    assert len(usual_candidates(1000)) > 4
    two = [candidate for candidate in usual_candidates(2) if candidate.gq_weight]
    assert two
    assert all(candidate.form != "softmax" for candidate in two)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 3.0}, "must be 6 or more"),
        ({"detector": "odn"}, "Did you mean 'odin'"),
        ({"detector": "mood"}, "network with several exits"),
        ({"id": "digits:3"}, "two classes or more.*Received: id='digits:3', 1 class"),
        ({"candidates": [Candidate()]}, "takes part anyway"),
        ({"candidates": [Candidate(loss="logit_norm")] * 2}, "given once"),
        ({"id": "dir:nowhere"}, "nothing is left to validate on"),
        (
            {"id": "digits:0-1", "candidates": [Candidate.parse("gq softmax exact 1")]},
            "two classes",
        ),
        ({"candidates": []}, "one candidate or more"),
    ],
)
def test_what_cannot_be_swept_is_said_before_anything_is_trained(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        keras_lodin.sweep(output=tmp_path / "sweep", report=quiet, **{**SWEEP, **changes})
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_the_command_prints_plan_table_and_recommendation(tmp_path):
    result = CliRunner().invoke(
        main,
        shlex.split(
            "sweep --id digits:0-2 --model perceptron --epochs 1 --seeds 2 --count 20 "
            f"--candidate 'gq logits projected -1' --budget 8 --output {tmp_path / 'sweep'}"
        ),
    )
    assert result.exit_code == 0, result.output
    assert "At most 6.0 plain trainings" in result.output
    assert "Recommendation" in result.output
    assert "report.html" in result.output


def test_a_mistake_on_the_command_line_ends_in_one_sentence(tmp_path):
    result = CliRunner().invoke(
        main, shlex.split(f"sweep --id digits --model small_convnet --budget 1 --output {tmp_path}")
    )
    assert result.exit_code == 2
    assert "Received: budget=1" in " ".join(result.output.split())
