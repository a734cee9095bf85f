"""The plots: there, readable by every name, and drawn from the scores."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_lodin.evaluation.plots import (
    draw_means,
    histogram_figure,
    means_figure,
    plot_files,
    roc_figure,
)
from keras_lodin.metrics.figures import fpr_at_tpr, threshold_at_tpr
from tests.evaluation.conftest import make_evaluation


def test_each_set_gets_histograms_and_roc_curves(evaluation, tmp_path):
    evaluation.to_plots(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dtd_roc.png",
        "dtd_scores.png",
        "svhn_roc.png",
        "svhn_scores.png",
    ]
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) > 400


def test_drawing_leaves_the_state_of_pyplot_alone(evaluation, tmp_path):
    before = sys.modules.get("matplotlib.pyplot")
    evaluation.to_plots(tmp_path)
    assert sys.modules.get("matplotlib.pyplot") is before


def test_names_of_sets_become_safe_file_names():
    oods = ("tfds:mnist[:50%]", "dir:/some/where", "dir:/some/where/", "///", "a$b$", "..")
    assert sorted(plot_files({name: {"roc": b"", "scores": b""} for name in oods})) == sorted(
        f"{stem}_{kind}.png"
        for stem in (
            *("tfds_mnist_50", "dir_some_where", "dir_some_where_2"),
            *("data", "a_b", "data_2"),
        )
        for kind in ("roc", "scores")
    )


def test_groups_get_a_plot_of_their_means():
    assert draw_means(make_evaluation().to_dict()) is None
    evaluation = make_evaluation(models=("ce", "gq"), groups={"svhn": "far", "dtd": "near"})
    axes = means_figure(evaluation.to_dict()).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("ce / msp", "ce / odin", "gq / msp", "gq / odin"),
    ]
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert marks == [100 * mean["auroc"] for mean in evaluation.means if mean["group"]]


def test_names_that_are_mathematics_to_matplotlib_are_drawn_as_they_are(tmp_path):
    make_evaluation(oods=("a$b$",), detectors=("m$s$p",)).to_plots(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_b_roc.png", "a_b_scores.png"]


def test_histograms_hold_all_samples_and_the_threshold(evaluation):
    figure = histogram_figure("cifar10", "svhn", evaluation.scores)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["msp", "odin"]
    for axes, scores in zip(panels, evaluation.scores.values(), strict=True):
        (line,) = axes.lines
        assert line.get_xdata()[0] == threshold_at_tpr(scores["cifar10"], 0.95)
        assert len(axes.patches) == 2


def test_far_scores_do_not_squeeze_the_histogram(evaluation):
    evaluation.scores["msp"]["svhn"][0] = -1e6
    figure = histogram_figure("cifar10", "svhn", evaluation.scores)
    assert figure.axes[0].get_xlim()[0] > -10


@pytest.mark.grid(3)
@pytest.mark.parametrize("value", [0.0, 0.2, 1e6])
def test_tied_scores_can_be_drawn(evaluation, tmp_path, value):
    tied = {name: np.full(30, value, "float32") for name in ("cifar10", "svhn", "dtd")}
    replace(evaluation, scores={"msp": tied, "odin": tied}).to_plots(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_roc_curves_mark_fpr95(evaluation):
    axes = roc_figure(evaluation.to_dict(), "svhn", evaluation.scores).axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    for mark, scores in zip(marks, evaluation.scores.values(), strict=True):
        assert mark.get_xdata()[0] == fpr_at_tpr(scores["cifar10"], scores["svhn"])
        assert mark.get_ydata()[0] >= 0.95


def test_detectors_keep_their_colour_across_models_and_every_curve_differs():
    evaluation = make_evaluation(models=("ce", "gq"), detectors=tuple("abcdefghi"), oods=("svhn",))
    axes = roc_figure(evaluation.to_dict(), "svhn", evaluation.scores).axes[0]
    curves = {
        line.get_label().split(":")[0]: (line.get_color(), line.get_linestyle())
        for line in axes.lines
        if "AUROC" in line.get_label()
    }
    assert len(curves) == 18
    assert curves["ce/a"][0] == curves["gq/a"][0]
    assert len(set(curves.values())) == 18
