"""The figure of gradient norms: a panel per quantity and model, comparable, and never a crash."""

import sys

import numpy as np
import pytest
from PIL import Image

from keras_lodin.evaluation.gradient_plots import gradient_figure, write_gradient_figure
from keras_lodin.quotient.distributions import GradientDistributions


def rows(figure, columns):
    return np.array(figure.axes).reshape(3, columns)


def test_rows_are_quantities_and_columns_models_with_one_axis_for_each_row(models):
    panels = rows(gradient_figure(models, "digits"), 2)
    assert [axes.get_title() for axes in panels[0]] == ["ce", "gq"]
    for row in panels:
        assert row[0].get_xlim() == row[1].get_xlim()
    low, high = panels[0, 0].get_xlim()
    assert low < -3.0
    assert high > 40.0
    assert panels[2, 0].get_xlim() == (0.0, 1.0)


def test_in_distribution_data_come_first_and_shares_sum_to_one(models):
    figure = gradient_figure(models, "digits")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("ID: digits", "OOD: noise", "OOD: photos")
    ]
    for axes in figure.axes:
        assert len(axes.patches) == 3
        for patch in axes.patches:
            # The outline of the bars, up and back: its area over the width of a bin.
            x, y = patch.get_xy().T
            width = np.diff(np.unique(x)).min()
            area = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
            assert area / width == pytest.approx(1.0, rel=1e-3)


def test_medians_are_marked(models):
    panels = rows(gradient_figure(models, "digits"), 2)
    for column, sets in zip(panels.T, models.values(), strict=True):
        marked = [line.get_xdata()[0] for line in column[0].lines]
        expected = [np.median(sets[n].log10_label_norm) for n in ("digits", "noise", "photos")]
        assert marked == pytest.approx(expected)


def test_zero_gradients_are_counted_in_the_panel(models):
    models["ce"]["noise"].log10_label_norm[:7] = -np.inf
    panels = rows(gradient_figure(models, "digits"), 2)
    assert [text.get_text() for text in panels[0, 0].texts] == ["noise: 7 of 50 are zero"]
    assert not panels[0, 1].texts
    marked = panels[0, 0].lines[1].get_xdata()[0]
    assert marked == np.median(models["ce"]["noise"].log10_label_norm[7:])


@pytest.mark.parametrize("value", [-np.inf, 0.0, -4000.0])
def test_tied_norms_can_be_drawn(value, tmp_path):
    tied = GradientDistributions(
        log10_label_norm=np.full(9, value),
        log10_other_norm=np.full(9, value),
        quotient=np.full(9, 0.0 if value == -np.inf else 1.0, "float32"),
        predicted=np.zeros(9, "int32"),
    )
    write_gradient_figure({"m$1$": {"a$b$": tied, "c": tied}}, "c", tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 400


def test_quotients_above_one_widen_the_axis_of_the_logits(models):
    for sets in models.values():
        for found in sets.values():
            found.quotient[:] *= 4.0
    high = rows(gradient_figure(models, "digits", form="logits"), 2)[2, 0].get_xlim()[1]
    assert 3.0 < high <= 4.0


def test_drawing_leaves_the_state_of_pyplot_alone(models, tmp_path):
    before = sys.modules.get("matplotlib.pyplot")
    write_gradient_figure(models, "digits", tmp_path / "figure.png")
    assert sys.modules.get("matplotlib.pyplot") is before
