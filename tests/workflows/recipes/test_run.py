"""Running rows of the poster: what a row gives, and that it survives being killed."""

import html
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_lodin.utils import files
from keras_lodin.workflows import compare_recipes, run_recipe
from keras_lodin.workflows.recipes import RECIPES, SCALES
from keras_lodin.workflows.recipes.run import read_summary
from keras_lodin.workflows.recipes.scales import OODSet

QUIET = {"report": lambda line: None, "verbose": 0, "resamples": 20}


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """A scale of seconds: the smallest networks, two epochs of digits."""
    digits = SCALES["digits"]
    data = replace(digits.data["cifar10"], ood=(OODSet("digits:7-9"), OODSet("noise:uniform:60")))
    SCALES["tiny"] = replace(
        digits,
        name="tiny",
        data={"cifar10": data, "imagenet": data},
        networks=dict.fromkeys(("resnet18", "wide_resnet_40_4"), "perceptron"),
        training={
            "cifar10": {"epochs": 2, "augment": None},
            "imagenet": {"estimator": "exact", "batch_size": 32},
        },
    )
    yield
    del SCALES["tiny"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two rows that have run, two seeds each."""
    folder = tmp_path_factory.mktemp("recipes")
    for name in ("odin-resnet18", "odin-gq-resnet18"):
        run_recipe(name, folder, scale="tiny", seeds=2, command="the command", **QUIET)
    return folder


@pytest.mark.slow
def test_the_page_of_a_recipe_has_its_figures_and_the_posters(finished):
    page = html.unescape((finished / "odin-gq-resnet18.html").read_text())
    auroc = read_summary("odin-gq-resnet18", finished)["figures"]["odin"]["auroc"]
    assert f"{100 * auroc['mean']:.2f} (" in page
    assert "93.55" in page
    assert "the command" in page


@pytest.mark.slow
def test_a_summary_has_every_value_its_mean_and_what_it_came_from(finished):
    summary = read_summary("odin-gq-resnet18", finished)
    assert summary["seeds"] == [0, 1]
    assert summary["command"] == "the command"
    assert summary["settings"]["training"]["gq_weight"] == 1e-6
    assert summary["published"] == {"auroc": 93.55, "fpr95": 25.14, "accuracy": 94.26}
    # The true ODIN and the maximum logit stand beside each row; here ODIN is the row's own.
    assert list(summary["figures"]) == ["odin", "max_logit"]
    run = finished / "runs" / "tiny-cifar10-perceptron-gq1e-06"
    for seed in (0, 1):
        rows = json.loads((run / f"seed{seed}" / "evaluation" / "results.json").read_text())
        aurocs = [row["auroc"] for row in rows["results"] if row["detector"] == "odin"]
        assert len(aurocs) == 2
        value = summary["figures"]["odin"]["auroc"]["values"][str(seed)]
        assert value == pytest.approx(np.mean(aurocs))
    assert set(summary["by_ood_set"]) == {"digits:7-9", "noise:uniform:60"}
    assert all(seconds > 0 for seconds in summary["seconds"].values())


@pytest.mark.slow
def test_another_row_of_the_same_network_trains_and_evaluates_nothing(finished):
    lines = []
    summary = run_recipe(
        "msp-wrn", finished, scale="tiny", seeds=1, **{**QUIET, "report": lines.append}
    )
    assert list(summary["figures"]) == ["msp", "odin", "max_logit"]
    assert not any("Evaluating" in line for line in lines)


@pytest.mark.slow
def test_a_comparison_is_paired_by_seed(finished):
    differences = compare_recipes("odin-gq-resnet18", "odin-resnet18", finished)
    for figure, difference in differences.items():
        first, second = (
            read_summary(name, finished)["figures"]["odin"][figure]["values"]
            for name in ("odin-gq-resnet18", "odin-resnet18")
        )
        expected = {int(seed): first[seed] - second[seed] for seed in first}
        assert difference.values == pytest.approx(expected)


@pytest.mark.slow
def test_the_same_again_changes_nothing(finished):
    before = read_summary("odin-resnet18", finished)
    again = run_recipe(
        "odin-resnet18", finished, scale="tiny", seeds=2, command="the command", **QUIET
    )
    assert again == before


class Killed(BaseException):
    """What no code catches."""


@pytest.mark.slow
@pytest.mark.parametrize("longer", [5, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(
    longer, finished, tmp_path, monkeypatch
):
    move, moves = files._move_into_place, []

    def dying(source, target, aside):
        moves.append(target)
        # Longer lives from death to death: an evaluation writes many files at once.
        if len(moves) == 3 + longer * deaths:
            raise Killed
        move(source, target, aside)

    deaths = 0
    while True:
        monkeypatch.setattr(files, "_move_into_place", dying)
        moves.clear()
        try:
            summary = run_recipe("odin-resnet18", tmp_path, scale="tiny", seeds=1, **QUIET)
        except Killed:
            deaths += 1
            continue
        break
    assert deaths >= 2
    uninterrupted = read_summary("odin-resnet18", finished)
    assert summary["settings"] == uninterrupted["settings"]
    for detector, figures in uninterrupted["figures"].items():
        for figure, of_all in figures.items():
            assert summary["figures"][detector][figure]["values"]["0"] == of_all["values"]["0"]


@pytest.mark.slow
def test_a_pretrained_network_is_fine_tuned_with_the_quotient_alone(finished, tmp_path):
    pretrained = tmp_path / "classifier.keras"
    run = finished / "runs" / "tiny-cifar10-perceptron" / "seed0" / "training" / "model.keras"
    shutil.copy(run, pretrained)
    run_recipe("odin-gq-imagenet", tmp_path / "out", scale="tiny", pretrained=pretrained, **QUIET)
    before = keras.models.load_model(pretrained)
    after = keras.models.load_model(
        tmp_path / "out/runs/tiny-imagenet-pretrained-gq1/seed0/training/model.keras"
    )
    for layer, trained in zip(before.layers, after.layers, strict=True):
        assert trained.trainable
        for old, new in zip(layer.get_weights(), trained.get_weights(), strict=True):
            frozen = isinstance(layer, keras.layers.BatchNormalization)
            assert np.array_equal(old, new) == frozen or layer.name == "logits"
    history = json.loads(
        (tmp_path / "out/runs/tiny-imagenet-pretrained-gq1/seed0/training/run.json").read_text()
    )["history"]
    assert history[0]["loss"] == pytest.approx(history[0]["gq"], rel=1e-4)


def test_all_that_is_missing_is_named_before_anything_runs(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="are missing") as caught:
        run_recipe("odin-resnet18", tmp_path / "out", data_dir=tmp_path / "data", **QUIET)
    message = str(caught.value)
    for folder in ("LSUN", "LSUN_resize", "iSUN"):
        assert f"there is nothing at {tmp_path / 'data' / folder}" in message
    assert "Download LSUN (crop): the images of LSUN.tar.gz" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_missing_sets_can_be_left_out(tmp_path, monkeypatch):
    tiny = SCALES["tiny"]
    task = tiny.data["cifar10"]
    absent = OODSet("dir:{data}/absent", "it from nowhere")
    monkeypatch.setitem(
        SCALES,
        "tiny",
        replace(tiny, data={"cifar10": replace(task, ood=(*task.ood, absent))}),
    )
    summary = run_recipe(
        "odin-resnet18",
        tmp_path / "out",
        scale="tiny",
        data_dir=tmp_path,
        skip_missing=True,
        **QUIET,
    )
    assert summary["settings"]["ood"] == ["digits:7-9", "noise:uniform:60"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("odin-resnet81", {}, r"Did you mean 'odin-resnet18'.*Received: name='odin-resnet81'"),
        ("mood", {"scale": "huge"}, r"one of full, small, digits.*Received: scale='huge'"),
        ("odin-imagenet", {"scale": "digits"}, r"at scale full or small.*Received: scale='digits'"),
        ("odin-resnet18", {"seeds": 0}, r"`seeds` must be 1 or more. Received: seeds=0"),
        ("odin-imagenet", {"scale": "tiny"}, r"--pretrained FILE.keras"),
    ],
)
def test_mistakes_are_refused_with_the_reason(name, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_recipe(name, tmp_path / "out", **QUIET, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_another_scale_in_the_same_folder_is_refused(finished):
    with pytest.raises(ValueError, match=r"with other settings.*scale was 'tiny'"):
        run_recipe("odin-resnet18", finished, scale="digits", **QUIET)


@pytest.mark.parametrize("text", ["", "{}", '{"settings": {}, "figures": []}'])
def test_a_damaged_summary_is_named(text, tmp_path):
    (tmp_path / "mood.json").write_text(text)
    with pytest.raises(ValueError, match=r"The file mood\.json .* is damaged"):
        compare_recipes("mood", "odin-resnet18", tmp_path)


@pytest.mark.slow
def test_a_row_that_has_not_run_cannot_be_compared(finished):
    with pytest.raises(FileNotFoundError, match=r"`keras-lodin recipe run mood` comes first"):
        compare_recipes("mood", "odin-resnet18", finished)


def test_published_rows_are_percentages():
    for recipe in RECIPES.values():
        if recipe.published is not None:
            assert all(1.0 < value < 100.0 for value in vars(recipe.published).values())
